"""A run that can be disturbed at seeded moments: fakes with latency on real replicas of a real Ray.

``python -m tests.drills RUN_DIR ADDRESS`` is a controller of its own; the environment tells it when to die.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from actors.pool.cluster import start_ray, stop_ray
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from orchestrator.allocation.rounds import Rounds
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Engine, EngineBase, GenerateRequest, ModelInfo, Verifier
from orchestrator.runs.execution import Run, terminate
from orchestrator.runs.point import make_run
from orchestrator.search.controller import Controller
from orchestrator.storage.results import read_results
from orchestrator.storage.run_directory import open_run_dir
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier, RandomLatency
from orchestrator.types import Overhead, Sampling
from strategies.best_of_n import BestOfN
from strategies.particle_filter import ParticleFilter
from tests.fake_plans import fake_plan

NUM_PROBLEMS, CONCURRENCY = 24, 6
TASK = FakeTask(length=6, num_problems=NUM_PROBLEMS)
STRATEGY = ParticleFilter(num_particles=4, max_steps=9, sampling=Sampling(max_tokens=16))
# Samples that are granted across problems instead: 24 calls for the first ones, then one for each grant.
GRANTING: dict[str, Any] = {
    "strategy": BestOfN(num_samples=4, sampling=Sampling(max_tokens=64)),
    "rounds": Rounds(first=1, block=8, share=0.5, gain="improvement"),
    "budget": 4,
}
# Of the calls that a run makes at least: 24 problems of five steps and more.
NUM_CALLS = 120
KILL_AT, KILL_AFTER_S, KILL_WITH = "DRILL_KILL_AT", "DRILL_KILL_AFTER_S", "DRILL_KILL_WITH"
GRANTS = "DRILL_GRANTS"
CLUSTER = ClusterConfig(engine_replicas=2, max_attempts=2, request_timeout_s=60, start_timeout_s=60)

Lines = dict[str, dict[str, Any]]
"""Result lines by problem, without what may differ: seconds and overhead."""


def slow_engine() -> FakeEngine:
    """A step takes up to 30 ms: what is in flight at a moment differs from run to run."""
    return FakeEngine(latency=RandomLatency(os.getpid(), 0.03))


class TroubledEngine(FakeEngine):
    """Slow as well, and some requests do it harm: ``Trouble.arm`` says which, and how."""

    def __init__(self, folder: Path) -> None:
        super().__init__(latency=RandomLatency(os.getpid(), 0.03))
        self._trouble = Trouble(folder)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Any]:
        if any(map(self._trouble.strikes, requests)):
            if self._trouble.how == "memory":
                use_all_memory()
            os._exit(1)
        return await super().generate(requests)


def use_all_memory() -> None:
    """As an engine does whose caches grow: a limit stands for the end of the machine's memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2**28, hard))
    taken = []
    try:
        while True:
            taken.append(bytearray(2**26))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclass(frozen=True)
class Trouble:
    """Which request harms its replicas: a file that every replica looks at, so that it outlives them all.

    It is the first that comes of a question with so long a prefix, and from then on no other.
    """

    folder: Path

    @property
    def _file(self) -> Path:
        return self.folder / "trouble.json"

    def arm(self, question: str, length: int, how: str, times: int | None = None) -> None:
        """A prefix of ``length`` tokens or more, of a question; ``times`` in all, None is always."""
        self._file.write_text(json.dumps([question, length, how, times]))

    def disarm(self) -> None:
        self._file.unlink()
        for mark in self.folder.glob("strike-*"):
            mark.unlink()

    @property
    def how(self) -> str:
        return str(json.loads(self._file.read_text())[2])

    @property
    def num_strikes(self) -> int:
        return len(list(self.folder.glob("strike-*")))

    def strikes(self, request: GenerateRequest) -> bool:
        if not self._file.exists():
            return False
        question, length, _, times = json.loads(self._file.read_text())
        if request.question != question or len(request.token_ids) < length:
            return False
        marks = sorted(self.folder.glob("strike-*"))
        if marks and marks[0].read_text() != str(request.seed):
            return False
        if times is None or len(marks) < times:
            (self.folder / f"strike-{len(marks)}").write_text(str(request.seed))
            return True
        return False


@dataclass
class Tripwire(EngineBase):
    """An engine behind which something happens at certain calls, counted over all problems.

    What is due waits for a call at which ``is_time``.
    """

    engine: Engine
    events: dict[int, Callable[[], None]]
    is_time: Callable[[], bool] = lambda: True
    num_calls: int = 0
    asked: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)

    @property
    def info(self) -> ModelInfo:
        return self.engine.info

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Any]:
        self.num_calls += 1
        self.asked += [r.home for r in requests]
        due = min(self.events, default=sys.maxsize)
        if due <= self.num_calls and self.is_time():
            self.events.pop(due)()
        replies = await self.engine.generate(requests)
        self.answered.update(r.home for r in requests)
        return replies

    async def loglik(self, requests: Sequence[Any]) -> list[Any]:
        return await self.engine.loglik(requests)

    async def release(self, home: str) -> Overhead:
        return await self.engine.release(home)

    async def close(self) -> None:
        await self.engine.close()


def controller_of(engine: Engine, verifier: Verifier | None, **parts: Any) -> Controller:
    given: dict[str, Any] = {"strategy": STRATEGY, "task": TASK, "concurrency": CONCURRENCY, **parts}
    return Controller(engine=engine, verifier=verifier, **given)


async def results_of(
    controller: Controller, results: dict[str, ProblemResult] | None = None
) -> dict[str, ProblemResult]:
    """Everything that a search decides, by problem, in no order; into ``results`` as it comes."""
    results = {} if results is None else results
    await controller.run(
        TASK.problems(0, None), lambda r: results.update({r.problem.id: replace(r, seconds=0)})
    )
    return results


def lines_of(run_dir: Path) -> Lines:
    lines = read_results(run_dir)
    assert len({line["problem_id"] for line in lines}) == len(lines), "a problem is there twice"
    return {
        line["problem_id"]: {k: v for k, v in line.items() if k not in ("seconds", "overhead")}
        for line in lines
    }


def moments(seed: int, num: int = 1, apart: int = 12) -> list[int]:
    """Calls at which to strike, ``num`` in a row: the first neither in the first tenth nor in the last."""
    rng = random.Random(seed)
    first = rng.randint(NUM_CALLS // 10, NUM_CALLS * 8 // 10)
    return [first + i * rng.randint(1, apart) for i in range(num)]


def mid_problem(run_dir: Path) -> bool:
    """Whether a problem was left with some of its calls answered."""
    return any((run_dir / "journal").glob("*.jsonl"))


def die(run_dir: Path) -> None:
    """A signal from a thread of its own, so that it may strike between any two instructions of a problem."""

    def strike() -> None:
        while not mid_problem(run_dir):
            time.sleep(0.001)
        os.kill(os.getpid(), int(os.environ.get(KILL_WITH, signal.SIGKILL)))

    timer = threading.Timer(float(os.environ.get(KILL_AFTER_S, "0")), strike)
    timer.daemon = True
    timer.start()


def run_of(run_dir: Path, pool: Pool, engine: Engine) -> Run:
    """The run of the fakes' plan on a pool, with an engine before that of the pool."""
    grants = {"allocator": GRANTING["rounds"], "budget": GRANTING["budget"]} if GRANTS in os.environ else {}
    strategy = GRANTING["strategy"] if grants else STRATEGY
    plan = fake_plan(run_dir, TASK, strategy, concurrency=CONCURRENCY, **grants)
    run = make_run(plan, pool, open_run_dir(run_dir, plan.plain, [], resume=True))
    run.controller = replace(run.controller, engine=engine)
    run.console = Console(stderr=True)
    return run


def main(run_dir: Path, address: str) -> int:
    config = replace(CLUSTER, address=address)
    start_ray(config)
    signal.signal(signal.SIGTERM, terminate)
    with asyncio.Runner() as runner:
        pool = runner.run(Pool.start(config, slow_engine, FakeVerifier))
        events = {int(os.environ[KILL_AT]): partial(die, run_dir)} if KILL_AT in os.environ else {}
        engine = Tripwire(pool.engine, events)
        status = run_of(run_dir, pool, engine).execute({}, runner)
        sys.stdout.write(json.dumps({"asked": engine.asked}))
        runner.run(pool.close())
    stop_ray()
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
