"""One part of a run, from opening its directory to its end, whatever that is."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console

from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from orchestrator.config.build import Range
from orchestrator.observe.tracking import NoTracker
from orchestrator.protocols import Completion, Failure
from orchestrator.runs import execution
from orchestrator.runs.execution import Run, Status
from orchestrator.search.controller import Controller
from orchestrator.search.strategy import Strategy
from orchestrator.storage import group_commit as syncing
from orchestrator.storage.journal import Journals
from orchestrator.storage.journal_lines import digest_of
from orchestrator.storage.result_lines import granted_of
from orchestrator.storage.results import read_results
from orchestrator.storage.run_directory import Earlier, open_run_dir
from orchestrator.testing import FakeTask
from orchestrator.types import Granted, Overhead
from tests.simulation.cluster import Cluster
from tests.simulation.disk import Disk, NoThread
from tests.simulation.fate import Fate, Killed
from tests.simulation.loop import SteppedLoop, virtual_clock
from tests.simulation.models import Model
from tests.simulation.schedule import Part, Search, troubles_of
from tests.toy import load

Ask = Callable[[Sequence[Any]], Awaitable[list[Any]]]

TASK = FakeTask(length=4, num_problems=4)
CONFIG = {"task": "fake"}
BUDGET = 3


@cache
def strategy_of(name: str) -> Strategy:
    return load(name, budget=BUDGET)


@dataclass
class Watched:
    """The replicas as the controller asks them: what was asked for and answered, and the tokens of that.

    Calls stand as digests of their requests; those that were ``answered`` by problem.
    """

    engine: Any
    fate: Fate
    asked: set[str]
    answered: defaultdict[str, set[str]]
    accepted: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def generate(self, requests: Sequence[Any]) -> list[Any]:
        return await self._watch(self.engine.generate, requests)

    async def loglik(self, requests: Sequence[Any]) -> list[Any]:
        return await self._watch(self.engine.loglik, requests)

    async def score(self, requests: Sequence[Any]) -> list[Any]:
        return await self._watch(self.engine.score, requests)

    async def _watch(self, method: Ask, requests: Sequence[Any]) -> list[Any]:
        digest = digest_of(requests)
        self.asked.add(digest)
        replies = await method(requests)
        self.accepted += sum(r.usage.generated_tokens for r in replies if isinstance(r, Completion))
        if not self.fate.is_dead and not any(isinstance(r, Failure) for r in replies):
            self.answered[requests[0].home].add(digest)
        return replies


@dataclass
class Outcome:
    """How a part ended, and what it did. ``settled`` are the problems whose results the run took for safe.

    In tokens: ``made`` by engines, ``delivered`` to members, ``accepted`` by searches, and ``overhead``.
    """

    end: str
    status: Status | None = None
    error: BaseException | None = None
    settled: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    answered: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    made: int = 0
    delivered: int = 0
    accepted: int = 0
    overhead: Overhead = Overhead()
    cluster: Cluster = field(default_factory=lambda: Cluster(random.Random(0)))
    num_struck: int = 0
    num_steps: int = 0


class Process:
    """The driver of one part. ``run_dir`` is what it finds; ``target`` becomes what it leaves on disk."""

    def __init__(self, search: Search, part: Part, run_dir: Path, target: Path, name: str) -> None:
        self._search = search
        self._part = part
        self._run_dir = run_dir
        self._rng = random.Random(f"part {name}")
        self.fate = self._fate(target)
        self.disk = Disk(run_dir, self.fate, self._rng)
        self._loop = SteppedLoop(self.fate)
        question = None if part.poisoned is None else list(TASK.problems(0, None))[part.poisoned].question
        self.cluster = Cluster(self._rng, troubles_of(part, question), part.nodes, part.latency_s)
        self.outcome = Outcome(part.end, cluster=self.cluster)
        self._target = target
        self._accepted: Callable[[], int] = lambda: 0

    def _fate(self, target: Path) -> Fate:
        part = self._part
        dies = part.end in ("kill", "power cut")
        return Fate(
            on_death=lambda: (self.disk.after_kill if part.end == "kill" else self.disk.after_power_cut)(
                target
            ),
            on_signal=_signalled,
            death_at=part.end_at if dies else None,
            counts_operations=part.at_operation,
            signal_at=part.end_at if part.end == "signal" else None,
            failing=(part.end.removeprefix("failed "), part.end_at, part.code)
            if "failed" in part.end
            else None,
            for_good=part.for_good,
        )

    def run(self) -> Outcome:
        """The part, to its end."""
        with ExitStack() as stack:
            for place in (virtual_clock(self._loop), self.disk.in_place(), _signals()):
                stack.enter_context(place)
            stack.enter_context(patch.object(syncing, "ThreadPoolExecutor", self._thread))
            stack.enter_context(patch.object(execution, "heed_signals", lambda: None))
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                self._to_its_end(runner)
        self.outcome.num_steps = self.fate.num_steps
        return self.outcome

    def _thread(self, *_args: Any, **_keys: Any) -> NoThread:
        return NoThread(self._loop, lambda: self._rng.expovariate(20.0))

    def _to_its_end(self, runner: asyncio.Runner) -> None:
        pool: Pool | None = None
        try:
            earlier = open_run_dir(self._run_dir, CONFIG, [], resume=True)
            pool = runner.run(self._pool())
            self.outcome.status = self._made(pool, earlier).execute(CONFIG, runner)
        except Killed:
            pass
        except AssertionError:
            raise
        except BaseException as error:  # noqa: BLE001 - however a part ends is looked at
            self.outcome.error = error
        if was_killed := self.fate.is_dead:
            self.outcome.error, self.fate.is_left = None, True
            self._loop.settle()
        else:
            self.outcome.end = self._ended()
            self.fate.is_dead = self.fate.is_left = True
            self.disk.after_kill(self._target)
        if pool is not None:
            self._count(pool)
            if not was_killed:  # a dead driver's tasks must not go on
                runner.run(pool.close())

    def _ended(self) -> str:
        """How it did end, where that was not by a death."""
        if self.outcome.error is not None or self.fate.has_failed:
            return self._part.end if "failed" in self._part.end else "error"
        interrupted = self.outcome.status in (Status.INTERRUPTED, Status.TERMINATED)
        return "signal" if interrupted else "by itself"

    def _count(self, pool: Pool) -> None:
        members = pool.fleets["engine"].members.values()
        self.outcome.made, self.outcome.overhead = self.cluster.made, pool.overhead
        self.outcome.delivered = sum(member.tokens.generated for member in members)
        self.outcome.accepted = self._accepted()
        self.outcome.num_struck = len(self.cluster.deaths) + self.cluster.faults.total()

    async def _pool(self) -> Pool:
        part = self._part
        config = ClusterConfig(
            engine_replicas=part.engines,
            verifier_replicas=part.verifiers,
            max_engine_replicas=part.engines + part.extra,
            max_verifier_replicas=part.verifiers + part.extra,
            **dict(part.keys),
        )
        return await Pool.start(config, self._model, self._model, self.cluster)

    def _model(self) -> Model:
        return Model(sampler=self._search.sampler)

    def _made(self, pool: Pool, earlier: Earlier) -> Run:
        notes = (self.fate, self.outcome.asked, self.outcome.answered)
        engine, verifier = Watched(pool.engine, *notes), Watched(pool.verifier, *notes)
        self._accepted = lambda: engine.accepted
        controller = Controller(
            strategy=strategy_of(self._search.strategy),
            engine=engine,
            verifier=verifier,  # type: ignore[arg-type]
            task=TASK,
            seed=self._search.seed,
            limits=self._search.limits,
            concurrency=self._part.concurrency,
            journals=_Settling(self._run_dir, self.outcome.settled, self.fate),
            rounds=self._search.rounds,
            budget=BUDGET,
            finished=self._finished(earlier),
        )
        return Run(
            run_dir=self._run_dir,
            controller=controller,
            range=Range(0, None),
            num_problems=TASK.num_problems,
            labels={
                "strategy": self._search.strategy,
                "task": "fake",
                "budget": BUDGET,
                "seed": self._search.seed,
            },
            earlier=earlier,
            tracker=NoTracker(),
            backend=pool,
            console=Console(quiet=True),
            grace_s=2.0,
        )

    def _finished(self, earlier: Earlier) -> dict[str, Granted]:
        lines = read_results(self._run_dir) if self._search.rounds is not None else []
        return {x["problem_id"]: granted_of(x) for x in lines if x["problem_id"] in earlier.problem_ids}


class _Settling(Journals):
    """Notes which problems' journals were ended because their results are safe."""

    def __init__(self, run_dir: Path, settled: set[str], fate: Fate) -> None:
        super().__init__(run_dir)
        self._settled = settled
        self._fate = fate

    def done(self, problem_id: str) -> None:
        if not self._fate.is_dead:
            self._settled.add(problem_id)
        super().done(problem_id)


def _signalled() -> bool:
    """SIGTERM, where somebody listens who was put there for it."""
    handler = signal.getsignal(signal.SIGTERM)
    if getattr(handler, "__name__", "") != "hear":
        return False
    signal.raise_signal(signal.SIGTERM)
    return True


@contextmanager
def _signals() -> Iterator[None]:
    """Whatever a part does to signal handlers is undone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
