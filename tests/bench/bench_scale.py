"""What one controller can carry: ``python -m tests.bench.bench_scale``.

Models here answer after a drawn latency and compute nothing, so that what is measured is what stands
around them: strategy, session, ledger, journal, routing, result files. A particle filter with 8 particles and
8 steps runs on every problem; an expansion is one row, generated and scored.

rate          expansions a second of one process that has all replicas in it, and the CPU time of each; the
              share of the simulation itself is measured alone, and stands beside it
utilisation   slots used / slots there are, until the last 5 % of the problems, for several numbers of
              replicas and step lengths that vary tenfold
actors        the same once through real Ray actors
memory        bytes of the controller for each problem in flight
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

from actors.cluster import start_ray, stop_ray
from actors.fleet import Fleet
from actors.placement import ClusterConfig, ReplicaSpec
from actors.pool import Pool, PooledEngine, PooledVerifier
from orchestrator.controller import Controller, ProblemResult
from orchestrator.journal import Journals
from orchestrator.protocols import Engine, GenerateRequest, ScoreRequest, Verifier
from orchestrator.results import ResultLog, result_line
from orchestrator.types import Overhead, Sampling
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

NUM_PARTICLES = 8
EXPANSIONS = NUM_PARTICLES * NUM_STEPS
PARAMS = Sampling(temperature=0.8, max_tokens=TOKENS_PER_STEP + 1)
STRATEGY = ParticleFilter(NUM_PARTICLES, NUM_STEPS, PARAMS)
SLOTS = 8
TAIL = 0.05


@dataclass(frozen=True)
class Ran:
    """What one run showed; ``ends`` are the moments at which problems were done, first to last."""

    num_problems: int
    wall_s: float
    cpu_s: float
    begin: float
    ends: Sequence[float]

    @property
    def rate(self) -> float:
        """Expansions a second."""
        return self.num_problems * EXPANSIONS / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU time for each expansion."""
        return 1e6 * self.cpu_s / (self.num_problems * EXPANSIONS)

    @property
    def before_tail(self) -> float:
        """The moment at which the last 5 % of the problems were left."""
        return self.ends[int(len(self.ends) * (1 - TAIL)) - 1]


async def search(
    engine: Engine, verifier: Verifier, num_problems: int, concurrency: int, *, journal: bool = True
) -> Ran:
    """A run with result lines and journals in a folder of its own, from first problem to last."""
    task, ends = SimulatedTask(), list[float]()
    with tempfile.TemporaryDirectory() as folder:
        log = ResultLog(Path(folder))
        journals = Journals(Path(folder)) if journal else None

        def on_result(result: ProblemResult) -> None:
            assert result.error is None, result.error
            log.append(result_line(result, Overhead()))
            if journals is not None:
                journals.done(result.problem.id)
            ends.append(time.perf_counter())

        controller = Controller(STRATEGY, engine, verifier, task, concurrency=concurrency, journals=journals)
        begin, cpu = time.perf_counter(), time.process_time()
        await controller.run(task.problems(0, num_problems), on_result)
        wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
        log.close()
    return Ran(num_problems, wall_s, cpu_s, begin, ends)


class Replicas:
    """Fleets of simulated replicas in this process."""

    def __init__(self, num_engines: int, num_verifiers: int, seconds: float, max_in_flight: int) -> None:
        config = ClusterConfig(max_in_flight=max_in_flight, spill_margin=SLOTS)
        self.fleets = {
            kind: Fleet(
                ReplicaSpec(kind, partial(SimulatedModel, SLOTS, cost), num),
                config,
                SimulatedMember,  # type: ignore[arg-type]
            )
            for kind, num, cost in (("engine", num_engines, seconds), ("verifier", num_verifiers, 0.0))
        }

    async def start(self) -> tuple[Engine, Verifier]:
        for fleet in self.fleets.values():
            await fleet.start()
        return PooledEngine(self.fleets["engine"]), PooledVerifier(self.fleets["verifier"])

    @property
    def engines(self) -> list[SimulatedModel]:
        return [m.model for m in self.fleets["engine"]._members.values()]  # type: ignore[attr-defined]


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
    """Offered is ten times what is asked, so that the controller is what limits."""

    async def run(journal: bool) -> Ran:
        replicas = Replicas(64, 8, 0.002, 64)
        return await search(*await replicas.start(), args.problems, args.concurrency, journal=journal)

    profile = cProfile.Profile() if args.profile else nullcontext()
    rows = []
    alone = asyncio.run(simulation_alone(2000))
    for journal in (True, False):
        with profile if journal else nullcontext():
            ran = asyncio.run(run(journal))
        rows.append(
            ["on" if journal else "off", f"{ran.rate:,.0f}", f"{ran.cpu_us:.0f}", f"{ran.cpu_us - alone:.0f}"]
        )
    if isinstance(profile, cProfile.Profile):
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    header = ["journal", "expansions/s", "CPU us each", "less the simulation"]
    return f"{args.problems} problems, {args.concurrency} at once\n\n{markdown(header, rows)}"


def bench_utilisation(args: argparse.Namespace) -> str:
    """Step lengths are set so that the controller is asked for ``args.asked`` expansions a second."""
    rows = []
    for num in args.replicas:
        mean_s = num * SLOTS / args.asked
        seconds = mean_s / 3.9  # the mean of 10 ** U(0, 1)
        concurrency = args.oversubscribe * num * SLOTS // NUM_PARTICLES
        num_problems = max(20 * concurrency, 200)

        async def run(
            num: int = num, seconds: float = seconds, problems: int = num_problems, width: int = concurrency
        ) -> tuple[float, Ran]:
            replicas = Replicas(num, max(1, num // 4), seconds, 4 * SLOTS)
            ran = await search(*await replicas.start(), problems, width)
            return utilisation(replicas.engines, ran.begin, ran.before_tail), ran

        used, ran = asyncio.run(run())
        rows.append(
            [str(num), str(num_problems), f"{ran.rate:,.0f}", f"{1000 * mean_s:.0f}", f"{100 * used:.1f} %"]
        )
    header = ["replicas", "problems", "expansions/s", "mean step, ms", "slots used"]
    return markdown(header, rows)


def bench_actors(args: argparse.Namespace) -> str:
    """Through four real actors: what they used is told by their rate, as the latencies are known."""
    num, asked = 4, 400.0
    mean_s = num * SLOTS / asked
    factory = partial(SimulatedModel, SLOTS, mean_s / 3.9)
    config = ClusterConfig(
        engine_replicas=num, verifier_replicas=1, max_in_flight=4 * SLOTS, spill_margin=SLOTS
    )
    concurrency = args.oversubscribe * num * SLOTS // NUM_PARTICLES

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
    rows, peaks = [], []
    for width in (100, args.in_flight):
        gc.collect()

        async def run(width: int = width) -> None:
            replicas = Replicas(4, 4, 1e-6, 100_000)
            await search(*await replicas.start(), width, width)

        asyncio.run(run())
        peaks.append((width, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    (few, low), (many, high) = peaks
    rows.append([f"{many:,}", f"{high / 2**20:,.0f}", f"{(high - low) / (many - few) / 1024:.1f}"])
    return markdown(["problems in flight", "peak MiB", "KiB a problem"], rows)


BENCHES: dict[str, Callable[[argparse.Namespace], str]] = {
    "memory": bench_memory,  # first: a peak does not come down
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
    parser.add_argument("--concurrency", type=int, default=256, help="of the rate")
    parser.add_argument("--replicas", nargs="+", type=int, default=[8, 64, 256])
    parser.add_argument("--asked", type=float, default=1000.0, help="expansions/s of the utilisation")
    parser.add_argument("--oversubscribe", type=int, default=2, help="rows in flight for each slot")
    parser.add_argument("--in-flight", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true", help="of the rate")
    args = parser.parse_args()
    for name in [n for n in BENCHES if n in args.only]:
        print(f"## {name}\n\n{BENCHES[name](args)}\n", flush=True)


if __name__ == "__main__":
    main()
