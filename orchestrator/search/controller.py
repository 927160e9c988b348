"""The controller: each problem is a coroutine of one event loop, without barriers between problems."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import UnsetType

from orchestrator.allocation.rounds import Rounds
from orchestrator.errors import ConfigError, EngineError, GradingError, ProblemError, StrategyError
from orchestrator.observe import milestones
from orchestrator.outcome import Candidate, ProblemResult
from orchestrator.protocols import Engine, Task, Verifier, step_rule_of
from orchestrator.search.account import Limits
from orchestrator.search.asking import Ledger
from orchestrator.search.budgets import independent_knob_of, stops
from orchestrator.search.extending import NOTHING_DRAWN, drawn_of, with_samples
from orchestrator.search.gate import Gate
from orchestrator.search.grants import Block, Granting, Slots, blocks_of, in_blocks
from orchestrator.search.prices import Price
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy, in_chat
from orchestrator.search.watching import Watch
from orchestrator.spans import span
from orchestrator.storage.journal import Journal, Journals
from orchestrator.types import Granted, Problem, Solution


@dataclass(frozen=True)
class Controller:
    """Solves problems, ``concurrency`` at a time; a failed problem is a result, and the run continues.

    With ``journals`` every reply is recorded as it arrives, and calls that an earlier part of the run has
    recorded are not sent again. A journal stays open until the caller closes it in ``Journals``. After
    ``gate`` is closed no problem and no call is started; the caller that closed it cancels ``run``. ``drawn``
    are the result lines of an earlier, smaller budget by problem: their samples are not drawn again. With
    ``rounds`` the ``budget``, a mean over problems, is granted in blocks by their index from ``offset``; then
    ``run`` takes all problems, and those that an earlier part has ``finished`` bid as they did. ``watch``
    sees each search while it runs. ``policies`` are further engines by name, ``prices`` those of all.
    """

    strategy: Strategy
    engine: Engine
    verifier: Verifier | None
    task: Task
    seed: int = 0
    limits: Limits = Limits()
    concurrency: int = 64
    journals: Journals | None = None
    gate: Gate = field(default_factory=Gate, compare=False)
    drawn: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    watch: Watch | None = field(default=None, compare=False)
    rounds: Rounds | None = None
    budget: int = 1
    offset: int = 0
    finished: Mapping[str, Granted] = field(default_factory=dict)
    policies: Mapping[str, Engine] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ConfigError for an engine that cannot do what the task or the strategy asks of its prompts.

        That is to end steps as the task says, and to hold the earlier turns that the strategy shows.
        """
        step = step_rule_of(self.task)
        if not isinstance(step, UnsetType) and step.mode not in (known := self.engine.info.step_modes):
            allowed = f"this engine ends steps by {' or '.join(known)} alone (ModelInfo.step_modes)"
            raise ConfigError("task.step.mode", step.mode, allowed)
        if in_chat(self.strategy) and not self.engine.info.takes_history:
            allowed = "shows earlier turns, and this engine's prompt holds none (ModelInfo.takes_history)"
            raise ConfigError("strategy", type(self.strategy).__name__, allowed)

    async def run(self, problems: Iterable[Problem], on_result: Callable[[ProblemResult], None]) -> None:
        """Call ``on_result`` for each problem as it ends. Unexpected exceptions propagate."""
        if self.rounds is not None:
            await self.run_blocks(problems, self.finished, on_result)
            return
        source = longest_first(problems, self.concurrency - 1)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(self._work(source, on_result))
        except* Exception as bugs:  # noqa: BLE001 - unwrapped, never swallowed
            raise bugs.exceptions[0] from None

    async def results(
        self, problems: Iterable[Problem], on_result: Callable[[ProblemResult], None] = lambda result: None
    ) -> AsyncGenerator[ProblemResult, None]:
        """Yield each result as its problem ends, after ``on_result``; closing the generator cancels the rest.

        Raises EngineError once no replica is left, and unexpected exceptions.
        """
        found: asyncio.Queue[ProblemResult | None] = asyncio.Queue()

        def note(result: ProblemResult) -> None:
            on_result(result)
            found.put_nowait(result)

        work = asyncio.ensure_future(self.run(problems, note))
        lost = asyncio.ensure_future(self.gate.breaks())
        for task in (work, lost):
            task.add_done_callback(lambda _: found.put_nowait(None))
        try:
            while (result := await found.get()) is not None:
                yield result
            if self.gate.broken is not None:
                raise EngineError(f"no replica is left: {self.gate.broken}")
            await work
        finally:
            for task in (work, lost):
                task.cancel()
            await asyncio.gather(work, lost, return_exceptions=True)

    async def _work(self, source: Iterator[Problem], on_result: Callable[[ProblemResult], None]) -> None:
        for problem in source:
            await self.gate.begin()
            with self.gate.problem(problem.id):
                on_result(await self.solve(problem))

    async def run_blocks(
        self,
        problems: Iterable[Problem],
        finished: Mapping[str, Granted],
        on_result: Callable[[ProblemResult], None],
    ) -> None:
        """Solve problems with grants in rounds; those that are ``finished`` repeat their bids."""
        assert self.rounds is not None
        rounds, slots = self.rounds, Slots(self.concurrency)

        async def one(problem: Problem, block: Block, index: int) -> None:
            if problem.id in finished:
                await Granting(block, index).repeat(finished[problem.id])
                return
            async with slots.place() as slot:
                await self.gate.begin()
                with self.gate.problem(problem.id):
                    granting = Granting(block, index, slot, lambda: self.gate.resting(problem.id))
                    on_result(await self.solve(problem, granting))

        async def together(problems: list[Problem]) -> None:
            if all(problem.id in finished for problem in problems):
                return
            block = Block(rounds, len(problems), self.budget)
            async with asyncio.TaskGroup() as group:
                for i, problem in enumerate(problems):
                    group.create_task(one(problem, block, i))

        try:
            await in_blocks(blocks_of(problems, rounds.block, self.offset), together)
        except* Exception as bugs:  # noqa: BLE001 - unwrapped, never swallowed
            raise first_of(bugs) from None

    async def solve(self, problem: Problem, granting: Granting | None = None) -> ProblemResult:
        """Return the result of one problem; a ProblemError becomes part of it."""
        with span("problem", problem=problem.id) as own:
            result = await self._solve(problem, granting)
            own.set(
                generated_tokens=result.usage.generated_tokens,
                reward_calls=result.usage.reward_calls,
                stopped_by=result.stopped_by or "",
            )
            if result.error is not None:
                own.fail(f"{type(result.error).__name__}: {result.error}")
            return result

    async def _solve(self, problem: Problem, granting: Granting | None) -> ProblemResult:
        journal = await self.journals.open(problem.id) if self.journals else Journal()
        milestones.problem_begins(problem, journal.num_left)
        ledger = self._ledger(problem, journal, granting)
        if granting is not None:
            granting.begin(journal)
        begun = time.monotonic() - ledger.seconds_before
        solution: Solution | None = None
        candidates: tuple[Candidate, ...] = ()
        error: ProblemError | None = None
        try:
            solution = await self.strategy.solve(Session(ledger))
            journal.check_over()
            if granting is not None:
                solution = replace(solution, history=(*solution.history, *granting.records))
            candidates = await self._candidates(problem, solution)
        except ProblemError as failure:
            error = failure
        finally:
            await ledger.release()
        if granting is not None:
            granting.end(journal, len(candidates) if error is None else None)
        if (stopped_by := ledger.account.stopped_by) is not None:
            milestones.limit_reached(problem, stopped_by)
        return ProblemResult(
            problem=problem,
            candidates=candidates,
            has_answer=error is None and solution is not None and solution.answer_index is not None,
            error=error,
            stopped_by=stopped_by,
            solution=solution,
            usage=ledger.account.usage,
            overhead=ledger.overhead,
            seconds=time.monotonic() - begun - ledger.account.seconds_paused,
            by_role=dict(ledger.account.by_role),
            by_policy=dict(ledger.account.by_policy) if self.policies else {},
            cost=ledger.account.cost if self.prices else None,
        )

    def _ledger(self, problem: Problem, journal: Journal, granting: Granting | None) -> Ledger:
        line = self.drawn.get(problem.id)
        drawn = NOTHING_DRAWN if line is None else drawn_of(line)
        engine, verifier, policies = self.engine, self.verifier, self.policies
        if drawn.samples:
            engine, verifier = with_samples(engine, verifier, drawn, self.seed, problem.id)
            policies = {n: engine if e is self.engine else e for n, e in policies.items()}
        return Ledger(
            problem,
            engine=engine,
            verifier=verifier,
            task=self.task,
            seed=self.seed,
            limits=self.limits,
            journal=journal,
            gate=self.gate,
            watch=self.watch,
            drawn=drawn,
            granting=granting,
            policies=policies,
            prices=self.prices,
        )

    async def _candidates(self, problem: Problem, solution: Solution) -> tuple[Candidate, ...]:
        """Return the candidates, the answer's first; each distinct answer is graded once."""
        trajectories, chosen = solution.trajectories, solution.answer_index
        if len(solution.log_weights) != len(trajectories):
            raise StrategyError(f"{len(trajectories)} trajectories, {len(solution.log_weights)} log-weights")
        if len(solution.params) not in (0, len(trajectories)):
            raise StrategyError(f"{len(trajectories)} trajectories, {len(solution.params)} params")
        if chosen is not None and not 0 <= chosen < len(trajectories):
            raise StrategyError(f"answer_index {chosen} of {len(trajectories)} trajectories")
        order = sorted(range(len(trajectories)), key=lambda i: i != chosen)
        try:
            answers = [self.task.extract(t.text) if t.finished else None for t in trajectories]
            grades = {a: await self.task.grade(a, problem.answer) for a in dict.fromkeys(answers)}
            groups = await self._groups(answers)
        except GradingError:
            raise
        except Exception as failure:  # a task is a plug-in: its failure ends this problem only
            raise GradingError(f"{type(failure).__name__}: {failure}") from failure
        return tuple(
            Candidate(
                trajectories[i],
                solution.log_weights[i],
                answers[i],
                grades[answers[i]],
                solution.params[i] if solution.params else None,
                groups[i] if groups else None,
            )
            for i in order
        )

    async def _groups(self, answers: Sequence[str | None]) -> list[int]:
        """Return by index the first answer that is equivalent; nothing unless all N samples are drawn."""
        if self.rounds is not None or independent_knob_of(self.strategy) is None or stops(self.strategy):
            return []
        first: dict[str, int] = {}
        keys = await self.task.keys(answers)
        return [i if key is None else first.setdefault(key, i) for i, key in enumerate(keys)]


def first_of(bugs: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first exception of nested groups."""
    first = bugs.exceptions[0]
    return first_of(first) if isinstance(first, BaseExceptionGroup) else first


def longest_first(problems: Iterable[Problem], num_held: int) -> Iterator[Problem]:
    """Yield the problems; the ``num_held`` with the least expected work are held back for the end.

    The last problems to start are then short, and all replicas finish at about the same time; a long problem
    that starts last would keep one replica busy while the others are idle (Graham, "Bounds on Multiprocessing
    Timing Anomalies", 1969: longest processing time first). Work is estimated by the length of the question.
    At most ``num_held`` problems are held at any time.
    """
    held: list[tuple[int, int, Problem]] = []
    for i, problem in enumerate(problems):
        entry = (-len(problem.question), i, problem)
        if len(held) < num_held:
            heapq.heappush(held, entry)
        else:
            yield heapq.heappushpop(held, entry)[2]
    while held:
        yield heapq.heappop(held)[2]
