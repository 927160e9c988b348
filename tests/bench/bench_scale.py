"""What one controller can carry: ``python -m tests.bench.bench_scale``.

Models here answer after a drawn latency and compute nothing, so that what is measured is what stands
around them: strategy, session, ledger, journal, routing, result files. A particle filter with 8 particles and
8 steps runs on every problem; an expansion is one row, generated and scored.

rate          expansions a second of one process that has all replicas in it, and the CPU time of each; the
              share of the simulation itself is measured alone, and stands beside it
utilisation   slots used / slots there are, until the last 5 % of the problems, for several numbers of
              replicas and step lengths that vary tenfold; the clock is virtual, so that what is lost is lost
              by scheduling and not by this machine, and the figures are the same every time
actors        the same once through real Ray actors, in real time
memory        bytes of the controller for each problem in flight
queue         memory with very many problems to solve, of which few are in flight
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from actors.pool.cluster import start_ray, stop_ray
from actors.pool.fleet import Fleet
from actors.pool.placement import ClusterConfig, ReplicaSpec
from actors.pool.pool import Pool, PooledEngine, PooledVerifier
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Engine, GenerateRequest, ScoreRequest, Verifier
from orchestrator.runs.garbage import rare_collections
from orchestrator.search.controller import Controller
from orchestrator.storage.journal import Journals
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import ResultLog
from orchestrator.types import Sampling
from strategies.particle_filter import ParticleFilter
from tests.bench.curves import markdown
from tests.bench.simulated import (
    NUM_STEPS,
    TOKENS_PER_STEP,
    SimulatedMember,
    SimulatedModel,
    SimulatedTask,
    utilisation,
)
from tests.bench.virtual_time import run_at_once

NUM_PARTICLES = 8
EXPANSIONS = NUM_PARTICLES * NUM_STEPS
PARAMS = Sampling(temperature=0.8, max_tokens=TOKENS_PER_STEP + 1)
STRATEGY = ParticleFilter(NUM_PARTICLES, NUM_STEPS, PARAMS)
SLOTS = 8
TAIL = 0.05
MEAN_FACTOR = 3.9  # the mean of 10 ** U(0, 1), which step lengths are drawn from


@dataclass(frozen=True)
class Ran:
    """What one run showed; ``ends`` are the moments at which problems were done, first to last."""

    num_problems: int
    wall_s: float
    cpu_s: float
    begin: float
    ends: Sequence[float]
    num_expansions: int

    @property
    def rate(self) -> float:
        """Expansions a second."""
        return self.num_expansions / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU time for each expansion."""
        return 1e6 * self.cpu_s / self.num_expansions

    @property
    def before_tail(self) -> float:
        """The moment at which the last 5 % of the problems were left."""
        return self.ends[int(len(self.ends) * (1 - TAIL)) - 1]


async def search(
    engine: Engine,
    verifier: Verifier,
    num_problems: int,
    concurrency: int,
    *,
    journal: bool = True,
    strategy: ParticleFilter = STRATEGY,
) -> Ran:
    """A run with result lines and journals in a folder of its own, from first problem to last."""
    task, ends, clock = SimulatedTask(), list[float](), asyncio.get_running_loop().time
    with tempfile.TemporaryDirectory() as folder:
        log = ResultLog(Path(folder))
        journals = Journals(Path(folder)) if journal else None

        def on_result(result: ProblemResult) -> None:
            assert result.error is None, result.error
            done = partial(journals.done, result.problem.id) if journals else lambda: None
            log.append(result_line(result), then=done)
            ends.append(clock())

        controller = Controller(strategy, engine, verifier, task, concurrency=concurrency, journals=journals)
        begin, cpu = clock(), time.process_time()
        with rare_collections():  # as a run has it
            await controller.run(task.problems(0, num_problems), on_result)
            log.sync()
        wall_s, cpu_s = clock() - begin, time.process_time() - cpu
        log.close()
    num_expansions = num_problems * strategy.num_particles * strategy.max_steps
    return Ran(num_problems, wall_s, cpu_s, begin, ends, num_expansions)


class Replicas:
    """Fleets of simulated replicas in this process, one verifier for eight engines."""

    def __init__(
        self, num: int, seconds: float, max_in_flight: int = 1024, spill_margin: int = SLOTS
    ) -> None:
        config = ClusterConfig(max_in_flight=max_in_flight, spill_margin=spill_margin)
        self.fleets = {
            kind: Fleet(
                ReplicaSpec(kind, partial(SimulatedModel, SLOTS, cost), num),
                config,
                SimulatedMember,  # type: ignore[arg-type]
            )
            for kind, num, cost in (("engine", num, seconds), ("verifier", max(1, num // 8), 0.0))
        }

    async def start(self) -> tuple[Engine, Verifier]:
        for fleet in self.fleets.values():
            await fleet.start()
        return PooledEngine(self.fleets["engine"]), PooledVerifier(self.fleets["verifier"])

    @property
    def engines(self) -> list[SimulatedModel]:
        return [m.model for m in self.fleets["engine"]._members.values()]  # type: ignore[attr-defined]

    @property
    def home_hit_rate(self) -> float:
        stats = self.fleets["engine"].stats()
        return stats.home_hits / stats.calls


async def simulation_alone(num_calls: int) -> float:
    """Microseconds of CPU time that the simulated models take for one expansion, asked directly."""
    model = SimulatedModel(SLOTS, 1e-9)
    generate = [GenerateRequest("p", "q", "", (1,) * 48, PARAMS, i, "\n", "=") for i in range(NUM_PARTICLES)]
    score = [ScoreRequest("p", "q", ("0000000001.\n",) * 5, 4) for _ in range(NUM_PARTICLES)]
    free = SimulatedModel(SLOTS, 0.0)
    cpu = time.process_time()
    for _ in range(num_calls):
        await model.generate(generate)
        await free.score(score)
    return 1e6 * (time.process_time() - cpu) / (num_calls * NUM_PARTICLES)


def bench_rate(args: argparse.Namespace) -> str:
    """Offered is several times what is carried, so that the controller is what limits. The best of each."""

    async def run(num_replicas: int, journal: bool) -> Ran:
        replicas = Replicas(num_replicas, 0.002)
        return await search(*await replicas.start(), args.problems, args.concurrency, journal=journal)

    def best_of(num_replicas: int, journal: bool) -> list[str]:
        runs = [asyncio.run(run(num_replicas, journal)) for _ in range(args.repeats)]
        rate, cpu_us = max(r.rate for r in runs), min(r.cpu_us for r in runs)
        switch = "on" if journal else "off"
        return [str(num_replicas), switch, f"{rate:,.0f}", f"{cpu_us:.0f}", f"{cpu_us - alone:.0f}"]

    alone = asyncio.run(simulation_alone(2000))
    profile = cProfile.Profile() if args.profile else nullcontext()
    with profile:
        rows = [best_of(num, journal) for num in args.rate_replicas for journal in (True, False)]
    if isinstance(profile, cProfile.Profile):
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    header = ["replicas", "journal", "expansions/s", "CPU us each", "less the simulation"]
    shown = f"{args.problems} problems, {args.concurrency} at once, best of {args.repeats}"
    return f"{shown}\n\n{markdown(header, rows)}"


def bench_utilisation(args: argparse.Namespace) -> str:
    """In seconds of a virtual clock: a step takes one in the mean."""
    rows = []
    for num in args.replicas:
        for oversubscribed in args.oversubscribe:
            width = oversubscribed * num * SLOTS // NUM_PARTICLES

            async def run(num: int = num, width: int = width) -> tuple[float, float, Ran]:
                replicas = Replicas(num, 1 / MEAN_FACTOR, spill_margin=round(args.margin * SLOTS))
                ran = await search(*await replicas.start(), 20 * width, width, journal=False)
                used = utilisation(replicas.engines, ran.begin, ran.before_tail)
                return used, replicas.home_hit_rate, ran

            used, hits, ran = run_at_once(run())
            share = f"{100 * used:.1f} %"
            rows.append([str(num), str(oversubscribed), str(ran.num_problems), share, f"{100 * hits:.0f} %"])
    header = ["replicas", "rows in flight a slot", "problems", "slots used", "calls at their home"]
    return markdown(header, rows)


def bench_actors(args: argparse.Namespace) -> str:
    """Through four real actors: what they used is told by their rate, as the latencies are known."""
    num, asked = 4, args.asked
    mean_s = num * SLOTS / asked
    factory = partial(SimulatedModel, SLOTS, mean_s / MEAN_FACTOR)
    config = ClusterConfig(engine_replicas=num, verifier_replicas=1, spill_margin=SLOTS)
    concurrency = max(args.oversubscribe) * num * SLOTS // NUM_PARTICLES

    async def run() -> Ran:
        async with await Pool.start(config, factory, partial(SimulatedModel, SLOTS, 0.0)) as pool:
            assert pool.verifier is not None
            return await search(pool.engine, pool.verifier, 20 * concurrency, concurrency)

    start_ray(config)
    try:
        ran = asyncio.run(run())
    finally:
        stop_ray()
    mean = sum(factory()._latencies) / 4096
    num_done = int(len(ran.ends) * (1 - TAIL)) * EXPANSIONS
    used = num_done * mean / ((ran.before_tail - ran.begin) * num * SLOTS)
    header = ["actors", "problems", "expansions/s", "slots used", "driver CPU us each"]
    row = [str(num), str(ran.num_problems), f"{ran.rate:,.0f}", f"{100 * used:.1f} %", f"{ran.cpu_us:.0f}"]
    return markdown(header, [row])


def bench_memory(args: argparse.Namespace) -> str:
    """Peak memory with many problems in flight, over that with few."""
    peaks = []
    for width in (100, args.in_flight):
        gc.collect()

        async def run(width: int = width) -> None:
            replicas = Replicas(4, 1e-6, 1_000_000)
            await search(*await replicas.start(), width, width)

        run_at_once(run())
        peaks.append((width, _peak_bytes()))
    (few, low), (many, high) = peaks
    row = [f"{many:,}", f"{high / 2**20:,.0f}", f"{(high - low) / (many - few) / 1024:.1f}"]
    return markdown(["problems in flight", "peak MiB", "KiB a problem"], [row])


def bench_queue(args: argparse.Namespace) -> str:
    """Peak memory of short runs and long ones; two particles a problem, as what is held is of problems."""
    rows = []
    strategy = ParticleFilter(2, NUM_STEPS, PARAMS)
    for num_problems in (args.queued // 50, args.queued):

        async def run(num_problems: int = num_problems) -> Ran:
            replicas = Replicas(64, 0.002)
            engine, verifier = await replicas.start()
            for model in replicas.engines:
                model.busy = None  # what it did is of no use here, and grows
            return await search(engine, verifier, num_problems, args.concurrency, strategy=strategy)

        run_at_once(run())
        rows.append([f"{num_problems:,}", str(args.concurrency), f"{_peak_bytes() / 2**20:,.0f}"])
    return markdown(["problems", "in flight", "peak MiB"], rows)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


BENCHES: dict[str, Callable[[argparse.Namespace], str]] = {
    "queue": bench_queue,  # first: a peak does not come down
    "memory": bench_memory,
    "rate": bench_rate,
    "utilisation": bench_utilisation,
    "actors": bench_actors,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(BENCHES), default=list(BENCHES))
    parser.add_argument("--problems", type=int, default=500, help="of the rate")
    parser.add_argument("--concurrency", type=int, default=256, help="of the rate and the queue")
    parser.add_argument("--repeats", type=int, default=3, help="of the rate")
    parser.add_argument("--rate-replicas", nargs="+", type=int, default=[64, 1000])
    parser.add_argument("--replicas", nargs="+", type=int, default=[8, 64, 256], help="of the utilisation")
    parser.add_argument("--oversubscribe", nargs="+", type=int, default=[2, 3, 4], help="rows for each slot")
    parser.add_argument("--margin", type=float, default=1.0, help="of the utilisation: spill_margin / slots")
    parser.add_argument("--asked", type=float, default=400.0, help="expansions/s of the actors")
    parser.add_argument("--in-flight", type=int, default=20_000)
    parser.add_argument("--queued", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true", help="of the rate")
    args = parser.parse_args()
    for name in [n for n in BENCHES if n in args.only]:
        print(f"## {name}\n\n{BENCHES[name](args)}\n", flush=True)


if __name__ == "__main__":
    main()
