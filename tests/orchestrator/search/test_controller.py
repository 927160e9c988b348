"""The controller: failures are values, bugs propagate, nothing waits for a slow neighbour."""

import asyncio
import gc
import tracemalloc
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.errors import EngineError, GradingError, StrategyError
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import GenerateRequest
from orchestrator.search.account import Limits
from orchestrator.search.controller import Controller, longest_first
from orchestrator.search.session import Session
from orchestrator.storage.journal import Journals
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import ResultLog
from orchestrator.storage.totals import Totals
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier, RandomLatency, TokenLatency
from orchestrator.types import Overhead, Problem, Sampling, Solution, Trajectory
from strategies.best_of_n import BestOfN
from strategies.particle_filter import ParticleFilter
from strategies.self_consistency import SelfConsistency

STRATEGY = ParticleFilter(num_particles=4, max_steps=8, sampling=Sampling(max_tokens=16))


def make_controller(**parts: object) -> Controller:
    defaults: dict[str, object] = {
        "strategy": STRATEGY, "engine": FakeEngine(), "verifier": FakeVerifier(), "task": FakeTask(),
    }  # fmt: skip
    return Controller(**(defaults | parts))  # type: ignore[arg-type]


async def solve_all(controller: Controller, num_problems: int = 12) -> dict[str, ProblemResult]:
    results: dict[str, ProblemResult] = {}
    await controller.run(
        controller.task.problems(0, num_problems), lambda r: results.update({r.problem.id: r})
    )
    return results


def timeless(results: dict[str, ProblemResult]) -> dict[str, ProblemResult]:
    return {k: replace(r, seconds=0.0) for k, r in results.items()}


async def test_concurrency_and_arrival_change_nothing() -> None:
    plain = await solve_all(make_controller(concurrency=1))
    assert len(plain) == 12
    assert any(r.correct for r in plain.values())
    for seed in range(2):
        engine = FakeEngine(latency=RandomLatency(seed, 0.01))
        assert timeless(await solve_all(make_controller(concurrency=32, engine=engine))) == timeless(plain)


async def test_another_seed_is_another_search() -> None:
    a, b = await solve_all(make_controller(seed=0)), await solve_all(make_controller(seed=1))
    assert any(a[k].solution != b[k].solution for k in a)


async def test_the_answers_candidate_comes_first() -> None:
    for result in (await solve_all(make_controller())).values():
        solution = result.solution
        assert solution is not None and solution.answer_index is not None
        assert result.candidates[0].trajectory is solution.trajectories[solution.answer_index]
        assert len(result.candidates) == len(solution.trajectories)


async def test_an_engine_failing_on_one_prompt_fails_that_problem_alone() -> None:
    word = next(FakeTask().problems(3, 1)).question
    results = await solve_all(make_controller(engine=FakeEngine(fail_on=word)))
    failed = [r for r in results.values() if r.error]
    assert {r.problem.question for r in failed} == {word}
    assert all(isinstance(r.error, EngineError) and not r.correct and r.answer is None for r in failed)
    assert len(results) == 12


@dataclass(frozen=True)
class BrokenTask(FakeTask):
    """One of whose methods raises, on one problem's answer."""

    broken: str = ""
    bad: str = ""

    def extract(self, text: str) -> str | None:
        if self.broken == "extract" and text.endswith(f"={self.bad}\n"):
            raise ZeroDivisionError("cannot do this")
        return FakeTask.extract(self, text)

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        if self.broken == "keys" and self.bad in answers:
            raise ZeroDivisionError("cannot do this")
        return await FakeTask.keys(self, answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        if self.broken == "grade" and reference == self.bad:
            raise ZeroDivisionError("cannot do this")
        return answer == reference


@pytest.mark.parametrize("broken", ["extract", "keys", "grade"])
async def test_a_task_that_raises_fails_that_problem_alone(broken: str) -> None:
    """Whether the strategy asks for answers, which a vote does, or the controller does."""
    word = next(FakeTask().problems(0, 1)).answer
    vote = SelfConsistency(num_samples=8, sampling=Sampling(max_tokens=64))
    results = await solve_all(make_controller(strategy=vote, task=BrokenTask(broken=broken, bad=word)))
    assert len(results) == 12
    assert [r.problem.answer for r in results.values() if r.error] == [word]
    assert isinstance(results["fake-0"].error, GradingError)
    assert str(results["fake-0"].error) == "ZeroDivisionError: cannot do this"


@dataclass(frozen=True)
class Fixed:
    """A strategy that returns what it is told."""

    solution: Solution | None

    async def solve(self, session: Session) -> Solution:
        if self.solution is None:
            raise KeyError("a bug")
        return self.solution


async def test_a_bug_propagates() -> None:
    with pytest.raises(KeyError, match="a bug"):
        await solve_all(make_controller(strategy=Fixed(None)))


@pytest.mark.parametrize(
    ("solution", "message"),
    [
        (Solution(0, (Trajectory(),), ()), "1 trajectories, 0 log-weights"),
        (Solution(1, (Trajectory(),), (0.0,)), "answer_index 1 of 1 trajectories"),
    ],
)
async def test_a_solution_that_is_none_is_an_error(solution: Solution, message: str) -> None:
    results = await solve_all(make_controller(strategy=Fixed(solution)), 1)
    assert isinstance(results["fake-0"].error, StrategyError)
    assert str(results["fake-0"].error) == message


async def test_no_candidate_is_no_error() -> None:
    result = (await solve_all(make_controller(strategy=Fixed(Solution(None, (), ()))), 1))["fake-0"]
    assert result.error is None and result.answer is None and not result.correct


async def test_a_limit_is_said_in_the_result() -> None:
    limited = make_controller(limits=Limits(generated_tokens=10))
    for result in (await solve_all(limited)).values():
        assert result.stopped_by == "generated_tokens"
        assert result.usage.generated_tokens <= 10


async def test_no_more_problems_in_flight_than_told() -> None:
    in_flight, most = set[str](), 0

    class Watching(FakeEngine):
        async def generate(self, requests: Sequence[GenerateRequest]) -> list:  # type: ignore[type-arg]
            nonlocal most
            in_flight.update(r.home for r in requests)
            most = max(most, len(in_flight))
            await asyncio.sleep(0)
            in_flight.difference_update(r.home for r in requests)
            return await super().generate(requests)

    await solve_all(make_controller(engine=Watching(), concurrency=3))
    assert most == 3


async def test_problems_are_taken_one_by_one() -> None:
    """A stream of any length is never held in memory."""
    taken: list[str] = []

    class Stream(FakeTask):
        __slots__ = ()

    def stream() -> object:
        for problem in Stream(num_problems=50).problems(0, None):
            taken.append(problem.id)
            yield problem

    done: list[int] = []
    controller = make_controller(
        strategy=BestOfN(num_samples=1, sampling=Sampling(max_tokens=32)), concurrency=2
    )
    await controller.run(stream(), lambda r: done.append(len(taken)))  # type: ignore[arg-type]
    assert len(done) == 50
    assert all(num_taken - i <= 4 for i, num_taken in enumerate(done))  # and one is held for the end


async def test_a_problem_without_a_verifier_fails_with_the_key() -> None:
    problem = Problem("x", "abca", "abca")
    result = await make_controller(verifier=None).solve(problem)
    assert result.error is not None and "verifier=none" in str(result.error)


def test_the_shortest_are_left_for_the_end() -> None:
    lengths = [3, 9, 1, 7, 7, 2, 8, 4, 6, 5]
    problems = [Problem(str(i), "x" * n, "") for i, n in enumerate(lengths)]
    order = [len(p.question) for p in longest_first(problems, 3)]
    assert sorted(order) == sorted(lengths)
    assert order[-3:] == [3, 2, 1]
    assert list(longest_first(problems, 0)) == problems
    assert [len(p.question) for p in longest_first(problems, 99)] == sorted(lengths, reverse=True)
    assert [p.id for p in longest_first(problems, 99) if len(p.question) == 7] == ["3", "4"]


@pytest.mark.slow
def test_a_run_of_any_length_takes_the_same_memory(tmp_path: Path) -> None:
    """With its files: from the 300th problem to the 1,200th nothing is kept."""
    used: dict[int, int] = {}
    log, totals, journals = ResultLog(tmp_path), Totals(), Journals(tmp_path)

    def on_result(result: ProblemResult) -> None:
        line = result_line(result)
        log.append(line)
        totals.add(line)
        journals.done(result.problem.id)
        if totals.num_problems in (300, 1200):
            gc.collect()
            used[totals.num_problems] = tracemalloc.get_traced_memory()[0]

    class Forgetful(FakeEngine):
        async def generate(self, requests: Sequence[GenerateRequest]) -> list:  # type: ignore[type-arg]
            replies = await super().generate(requests)
            self.requests.clear()
            return replies

    controller = make_controller(
        strategy=BestOfN(num_samples=1, sampling=Sampling(max_tokens=32)), engine=Forgetful(),
        task=FakeTask(num_problems=1200), concurrency=8, journals=journals,
    )  # fmt: skip
    controller.verifier.requests = deque(maxlen=1)  # type: ignore[union-attr]
    tracemalloc.start()
    try:
        asyncio.run(controller.run(controller.task.problems(0, None), on_result))
    finally:
        tracemalloc.stop()
        log.close()
    assert used[1200] - used[300] < 100_000  # 110 bytes a problem


@pytest.mark.parametrize("ending", ["well", "error", "bug", "cancelled"])
async def test_a_problem_is_released_however_it_ends(ending: str) -> None:
    """A later run on the same engine begins at nothing; what has a result has its overhead there."""
    problem = next(FakeTask().problems(0, 1))
    engine = FakeEngine(
        in_vain={problem.id: Overhead(1, 2)},
        fail_on=problem.question if ending == "error" else None,
        latency=TokenLatency(60.0) if ending == "cancelled" else None,
    )
    strategy = Fixed(None) if ending == "bug" else STRATEGY
    solving = asyncio.create_task(make_controller(engine=engine, strategy=strategy).solve(problem))
    if ending == "cancelled":
        while not engine.requests:
            await asyncio.sleep(0)
        solving.cancel()
    await asyncio.wait([solving])
    assert engine.released == [problem.id]
    if ending in ("well", "error"):
        assert solving.result().overhead == Overhead(1, 2)
        assert (solving.result().error is not None) == (ending == "error")
    else:
        assert solving.cancelled() or isinstance(solving.exception(), KeyError)
