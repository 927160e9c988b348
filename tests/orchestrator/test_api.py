"""The library: one question and many, with files and without, plain and async functions."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import threading
import traceback
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import (
    Limits,
    Problem,
    ProblemResult,
    TextEngine,
    TextTask,
    TextVerifier,
    solve,
    solve_many,
    solve_sync,
)
from orchestrator.errors import ConfigError, EngineError, GradingError, VerifierError
from orchestrator.prompts.template import Template
from orchestrator.protocols import NO_REPLICA, Failure
from orchestrator.report.page import write_report
from orchestrator.storage.journal import JOURNAL
from orchestrator.storage.run_files import SUMMARY
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from strategies import AStar, BestOfN, ParticleFilter, Refine, RefineStop, SelfConsistency

TASK = TextTask(answer_marker="#")


def propose(question: str, written: str, *, seed: int, params: Any) -> str:
    """Count to the question's number, then state a digit that the seed decides."""
    return f"#{seed % 10}" if written.count("\n") >= int(question) else f"{written.count(chr(10))}"


def digits_alone(question: str, written: str, *, seed: int, params: Any) -> str:
    return f"#{seed % 10}"


def reward(question: str, steps: Sequence[str]) -> float:
    return (1 + int(steps[-1].strip("#\n"))) / 12


async def all_of(problems: Sequence[Any], **how: Any) -> list[ProblemResult]:
    settings = {"strategy": SelfConsistency(3), "engine": TextEngine(digits_alone), "task": TASK, **how}
    return [result async for result in solve_many(problems, **settings)]


async def test_a_question_is_solved_from_two_functions() -> None:
    result = await solve(
        "2", strategy=ParticleFilter(4), engine=TextEngine(propose), verifier=TextVerifier(reward), task=TASK
    )
    assert result.error is None
    assert result.text == f"0\n1\n#{result.answer}\n"
    assert len(result.candidates) == 4
    assert result.usage.reward_calls == 12
    assert result.solution is not None
    assert len(result.solution.history) > 0


async def test_the_best_of_n_is_the_one_with_the_greatest_reward() -> None:
    result = await solve(
        "?", strategy=BestOfN(8), engine=TextEngine(digits_alone), verifier=TextVerifier(reward), task=TASK
    )
    assert result.answer == max((c.answer or "" for c in result.candidates), key=int)


async def test_one_question_and_many_have_the_same_answers() -> None:
    questions = ["1", "2", "3"]
    how: dict[str, Any] = {
        "strategy": SelfConsistency(3),
        "engine": TextEngine(propose, by_steps=True),
        "task": TASK,
    }
    many = await all_of(questions, seed=5, **how)
    for question in questions:
        one = await solve(question, seed=5, **how)
        (same,) = [result for result in many if result.problem.question == question]
        assert (one.text, one.problem.id) == (same.text, same.problem.id)
    others = await all_of(questions, seed=6, **how)
    assert {r.text for r in others} != {r.text for r in many}


async def test_solve_sync_works_inside_a_running_loop() -> None:
    here = threading.get_ident()
    places: list[int] = []

    async def slowly(question: str, written: str, *, seed: int, params: Any) -> str:
        await asyncio.sleep(0)
        places.append(threading.get_ident())
        return "#7"

    result = solve_sync("?", strategy=SelfConsistency(2), engine=TextEngine(slowly), task=TASK)
    assert result.answer == "7"
    assert set(places) != {here}


def test_solve_sync_works_without_a_loop() -> None:
    engine = TextEngine(digits_alone)
    first = solve_sync("?", strategy=SelfConsistency(2), engine=engine, task=TASK)
    assert solve_sync("?", strategy=SelfConsistency(2), engine=engine, task=TASK).text == first.text


async def test_solve_sync_raises_in_the_caller() -> None:
    with pytest.raises(ConfigError, match="verifier"):
        solve_sync("?", strategy=BestOfN(2), engine=TextEngine(digits_alone))


def test_ctrl_c_in_a_notebook_cancels_what_solve_sync_waits_for() -> None:
    """There the loop leaves the signal to Python, which raises KeyboardInterrupt in the waiting thread."""
    ended = threading.Event()

    async def hangs(question: str, written: str, *, seed: int, params: Any) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return ""

    async def cell() -> None:
        solve_sync("?", strategy=SelfConsistency(1), engine=TextEngine(hangs))

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
    finally:
        loop.close()
        signal.signal(signal.SIGINT, before)
    assert ended.wait(20)


async def test_a_function_that_raises_ends_its_problem_alone_with_its_own_traceback() -> None:
    def fails(question: str, written: str, *, seed: int, params: Any) -> str:
        if question == "bad":
            raise ZeroDivisionError("of mine")
        return "#1"

    results = {r.problem.question: r for r in await all_of(["good", "bad", "fine"], engine=TextEngine(fails))}
    assert {q: r.answer for q, r in results.items()} == {"good": "1", "fine": "1", "bad": None}
    error = results["bad"].error
    assert isinstance(error, EngineError)
    assert "fails raised ZeroDivisionError: of mine" in str(error)
    assert f"{__file__}:" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    shown = "".join(traceback.format_exception(error))
    assert 'raise ZeroDivisionError("of mine")' in shown


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("there is no text")


@pytest.mark.parametrize(
    "kind", [StopIteration, StopAsyncIteration, TimeoutError, CancelledError, GeneratorExit]
)
async def test_exceptions_that_asyncio_reads_otherwise_end_their_problem_too(
    kind: type[BaseException],
) -> None:
    """A StopIteration in a future would hang its caller, a TimeoutError would lose its traceback."""

    def fails(question: str, written: str, *, seed: int, params: Any) -> str:
        raise kind("of mine")

    async def fails_later(question: str, steps: Sequence[str]) -> float:
        raise kind("of mine")

    how: dict[str, Any] = {"strategy": BestOfN(1), "verifier": TextVerifier(fails_later)}
    tried = [TextEngine(fails)] + [TextEngine(digits_alone)] * (kind not in (GeneratorExit, StopIteration))
    for result in [await solve("?", engine=engine, **how) for engine in tried]:
        assert result.error is not None
        assert f"{__file__}:" in str(result.error)
        assert isinstance(result.error.__cause__, kind)


async def test_an_exception_without_a_text_is_named() -> None:
    def fails(question: str, written: str, *, seed: int, params: Any) -> str:
        raise Speechless

    result = await solve("?", strategy=SelfConsistency(1), engine=TextEngine(fails))
    assert "fails raised Speechless (" in str(result.error)


async def test_a_cancelled_call_is_no_failure_of_the_function() -> None:
    begun = asyncio.Event()

    async def hangs(question: str, written: str, *, seed: int, params: Any) -> str:
        begun.set()
        await asyncio.sleep(60)
        return ""

    work = asyncio.ensure_future(solve("?", strategy=SelfConsistency(1), engine=TextEngine(hangs)))
    await begun.wait()
    work.cancel()
    with pytest.raises(CancelledError):
        await work


async def test_a_reward_that_raises_ends_its_problem_with_its_own_traceback() -> None:
    def fails(question: str, steps: Sequence[str]) -> float:
        raise KeyError("mine")

    verifier = TextVerifier(fails)
    result = await solve(
        "?", strategy=BestOfN(2), engine=TextEngine(digits_alone), verifier=verifier, task=TASK
    )
    assert isinstance(result.error, VerifierError)
    assert isinstance(result.error.__cause__, KeyError)


@pytest.mark.parametrize(
    ("value", "words"),
    [(v, f"returned {v!r}; it must") for v in (None, "x", "0.5", 2, -1e-9, float("nan"), 10**400, [0.5], {})],
)
async def test_a_reward_must_be_a_number(value: Any, words: str) -> None:
    engine, verifier = TextEngine(digits_alone), TextVerifier(lambda question, steps: value)
    result = await solve("?", strategy=BestOfN(2), engine=engine, verifier=verifier, task=TASK)
    assert isinstance(result.error, VerifierError)
    assert words[:150] in str(result.error)
    assert len(str(result.error)) < 300


@pytest.mark.parametrize("value", [True, 1, np.float32(1), np.int64(1), np.bool_(True), np.array(1.0)])
async def test_a_number_of_numpy_is_a_reward(value: Any) -> None:
    engine, verifier = TextEngine(digits_alone), TextVerifier(lambda question, steps: value)
    result = await solve("?", strategy=BestOfN(1), engine=engine, verifier=verifier, task=TASK)
    assert [c.trajectory.reward.value for c in result.candidates if c.trajectory.reward] == [1.0]


async def test_a_proposal_must_be_a_text() -> None:
    engine = TextEngine(lambda question, written, *, seed, params: 7)  # type: ignore[arg-type, return-value]
    result = await solve("?", strategy=SelfConsistency(2), engine=engine)
    assert "returned 7; it must return a str" in str(result.error)


async def test_a_function_that_blocks_stops_no_other() -> None:
    """Three problems meet in the function: where one blocked the others, the barrier would never open."""
    together = threading.Barrier(3)

    def meets(question: str, written: str, *, seed: int, params: Any) -> str:
        together.wait(timeout=20)
        return "#1"

    def judges(question: str, steps: Sequence[str]) -> float:
        together.wait(timeout=20)
        return 0.5

    results = await all_of(
        ["a", "b", "c"], strategy=BestOfN(1), engine=TextEngine(meets), verifier=TextVerifier(judges)
    )
    assert [result.answer for result in results] == ["1"] * 3


async def test_a_blocked_problem_does_not_hold_up_finished_ones() -> None:
    release = threading.Event()

    def waits(question: str, written: str, *, seed: int, params: Any) -> str:
        if question == "slow":
            release.wait(20)
        return "#1"

    found = solve_many(["slow", "quick"], strategy=SelfConsistency(1), engine=TextEngine(waits), task=TASK)
    async with aclosing(found):
        first = await anext(found)
        assert first.problem.question == "quick"
        release.set()
        assert (await anext(found)).problem.question == "slow"


async def test_one_thread_at_a_time_for_a_function_that_is_not_safe() -> None:
    inside, most = 0, 0

    def counts(question: str, written: str, *, seed: int, params: Any) -> str:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        inside -= 1
        return "#1"

    await all_of([str(i) for i in range(8)], engine=TextEngine(counts, max_threads=1))
    assert most == 1


async def test_a_strategy_that_needs_a_verifier_says_so_at_once() -> None:
    with pytest.raises(ConfigError, match="needs a verifier"):
        await solve("?", strategy=BestOfN(2), engine=TextEngine(digits_alone))
    model = BestOfN(2, aggregation="model")
    with pytest.raises(ConfigError, match="needs whole"):
        await solve("?", strategy=model, engine=TextEngine(digits_alone), verifier=TextVerifier(reward))


async def test_a_strategy_that_knows_the_answers_is_for_runs() -> None:
    oracle = Refine(2, prompt=Template("{question}"), stop=RefineStop("oracle"))
    with pytest.raises(ConfigError, match=r"^strategy=Refine: knows the answers: only a run may use it"):
        await solve("?", strategy=oracle, engine=TextEngine(digits_alone), verifier=TextVerifier(reward))


PART_KEYS = {
    "strategy": ("best_of_n", BestOfN, None),
    "engine": ("embedded", TextEngine, None, digits_alone),
    "verifier": ("embedded", TextVerifier, reward),
    "task": ("gsm8k", TextTask, str.strip),
    "limits": ({"seconds": 3}, Limits, None),
    "run_dir": ("", 3),
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in PART_KEYS.items() for v in values])
async def test_what_is_no_part_of_a_call_is_named_at_once(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{key}=.*: must be "):
        await all_of(["?"], **{key: value})


@pytest.mark.parametrize("problems", ["abc", b"no", None, 3, {"a": "1"}, [1], [None], [("a", "b", "c")],
                                      [("a", 42)], [{"question": "a"}], [Problem(1, "?", "")]])  # fmt: skip
async def test_what_is_no_question_is_named_at_once(problems: Any) -> None:
    with pytest.raises(ConfigError, match=r"^(problems|question)=.*: must be "):
        await all_of(problems)


@pytest.mark.parametrize(
    ("question", "reference"), [(7, ""), (["a", "b"], ""), ("?", 42), (Problem("mine", "?", "1"), "2")]
)
async def test_one_question_is_a_text_or_a_problem(question: Any, reference: Any) -> None:
    with pytest.raises(ConfigError, match=r"^(question|reference)="):
        await solve(question, reference=reference, strategy=SelfConsistency(1), engine=TextEngine(propose))


async def test_questions_may_come_from_a_generator_and_may_be_none() -> None:
    assert len(await all_of(str(i) for i in range(3))) == 3  # type: ignore[arg-type]
    assert await all_of([]) == []


@pytest.mark.parametrize(("key", "value"), [("seed", -1), ("concurrency", 0)])
async def test_a_bad_number_is_named(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{key}={value}"):
        await all_of(["?"], **{key: value})


async def test_results_and_models_that_have_worked_are_pickled() -> None:
    engine, verifier = TextEngine(digits_alone), TextVerifier(reward)
    result = await solve("?", strategy=BestOfN(2), engine=engine, verifier=verifier, task=TASK)
    copied = pickle.loads(pickle.dumps((engine, verifier, result)))
    assert copied[2] == result
    again = await solve("?", strategy=BestOfN(2), engine=copied[0], verifier=copied[1], task=TASK)
    assert again.text == result.text


async def test_limits_hold() -> None:
    result = await solve(
        "9", strategy=ParticleFilter(2), engine=TextEngine(propose), verifier=TextVerifier(reward), task=TASK,
        limits=Limits(reward_calls=4),
    )  # fmt: skip
    assert result.stopped_by == "reward_calls"
    assert result.usage.reward_calls == 4


async def test_equal_questions_are_two_problems_and_equal_ids_are_a_mistake() -> None:
    ids = [result.problem.id for result in await all_of(["a", "a", "b"])]
    assert len(set(ids)) == 3
    problem = Problem("mine", "?", "")
    with pytest.raises(ConfigError, match="problems=mine"):
        await all_of([problem, problem])


async def test_references_are_graded() -> None:
    results = await all_of(
        [("a", "1"), ("b", "2")], engine=TextEngine(lambda question, written, *, seed, params: "#1")
    )
    assert {r.problem.question: r.correct for r in results} == {"a": True, "b": False}


def counted(count: list[str], function: Callable[..., str] = digits_alone) -> TextEngine:
    """An engine that notes the questions that it is asked."""

    def propose(question: str, written: str, *, seed: int, params: Any) -> str:
        count.append(question)
        return function(question, written, seed=seed, params=params)

    return TextEngine(propose)


@pytest.mark.parametrize("value", [7, b"no", ["7"]])
async def test_an_answer_that_is_read_must_be_a_text(value: Any) -> None:
    def reads(text: str) -> Any:
        return value

    (result,) = await all_of([("a", "7")], task=TextTask(read_answer=reads))
    assert str(result.error) == f"reads returned {value!r}; it must return a str or None"


async def test_what_a_task_of_functions_raises_ends_its_problem_with_its_traceback() -> None:
    def fails(*texts: str) -> Any:
        raise KeyError("of mine")

    for task in (TextTask(read_answer=fails), TextTask(is_right=fails)):
        (result,) = await all_of([("a", "7")], task=task)
        assert isinstance(result.error, GradingError)
        assert isinstance(result.error.__cause__, KeyError)
        assert f"fails raised KeyError: 'of mine' ({__file__}:" in str(result.error)


async def test_a_judge_may_block_or_be_async() -> None:
    together = threading.Barrier(2)

    def blocks(answer: str, reference: str) -> bool:
        together.wait(timeout=20)
        return True

    async def later(answer: str, reference: str) -> bool:
        await asyncio.sleep(0)
        return True

    for judge in (blocks, later):
        how = {"strategy": SelfConsistency(1), "task": TextTask(is_right=judge)}
        results = await all_of([("a", "1"), ("b", "2")], **how)
        assert [result.correct for result in results] == [True, True]


async def test_a_run_directory_is_continued(tmp_path: Path) -> None:
    asked: list[str] = []
    questions = [("a", "1"), ("b", "2"), ("c", "3")]
    found = solve_many(
        questions,
        strategy=SelfConsistency(2),
        engine=counted(asked),
        task=TASK,
        concurrency=1,
        run_dir=tmp_path,
    )
    async with aclosing(found):
        first = await anext(found)
    assert not json.loads((tmp_path / SUMMARY).read_text())["complete"]
    num_before = len(asked)

    results = await all_of(questions, strategy=SelfConsistency(2), engine=counted(asked), run_dir=tmp_path)
    assert first.problem.question not in asked[num_before:]
    assert {r.problem.question for r in results} == {"a", "b", "c"}
    without = await all_of(questions, strategy=SelfConsistency(2))
    assert {(r.problem.id, r.text, r.answer) for r in results} == {
        (r.problem.id, r.text, r.answer) for r in without
    }
    summary = json.loads((tmp_path / SUMMARY).read_text())
    assert (summary["complete"], summary["num_problems"], summary["strategy"]) == (
        True,
        3,
        "self_consistency",
    )
    assert not (tmp_path / JOURNAL).exists()

    num_before = len(asked)
    again = await all_of(questions, strategy=SelfConsistency(2), engine=counted(asked), run_dir=tmp_path)
    assert len(asked) == num_before
    assert [(r.problem.id, r.text, r.usage, r.correct) for r in again] == [
        (r.problem.id, r.text, r.usage, r.correct) for r in results
    ]


async def test_a_search_resumes_in_the_middle_from_its_journal(tmp_path: Path) -> None:
    """Of a problem that failed at its third step, the first two steps are not generated again."""
    asked: list[str] = []

    def fails_once(question: str, written: str, *, seed: int, params: Any) -> str:
        if len(asked) == 3:
            raise OSError("the server is gone")
        return propose(question, written, seed=seed, params=params)

    how: dict[str, Any] = {
        "strategy": ParticleFilter(1),
        "verifier": TextVerifier(reward),
        "run_dir": tmp_path,
    }
    engine = counted(asked, fails_once)
    (broken,) = await all_of(["4"], engine=engine, **how)
    assert broken.error is not None
    assert len(asked) == 3
    asked.append("from here on it works")
    (result,) = await all_of(["4"], engine=engine, **how)
    assert len(asked) == 4 + 3  # of five steps the last three
    del how["run_dir"]
    (whole,) = await all_of(["4"], engine=TextEngine(propose), **how)
    assert (result.text, result.usage) == (whole.text, whole.usage)


async def test_a_directory_of_another_call_is_refused(tmp_path: Path) -> None:
    await all_of(["a"], run_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"strategy\.num_samples=4: differs"):
        await all_of(["a"], strategy=SelfConsistency(4), run_dir=tmp_path)
    with pytest.raises(ConfigError, match="seed=1: differs"):
        await all_of(["a"], seed=1, run_dir=tmp_path)
    with pytest.raises(ConfigError, match="has changed since"):
        await all_of(["b"], run_dir=tmp_path)


async def test_the_report_reads_the_files_of_a_library_call(tmp_path: Path) -> None:
    how: dict[str, Any] = {
        "strategy": ParticleFilter(4),
        "engine": TextEngine(propose),
        "run_dir": tmp_path / "run",
    }
    await all_of([("2", "3"), ("3", "4")], verifier=TextVerifier(reward), **how)
    page = write_report(tmp_path / "run", tmp_path / "page", 1e6)
    assert "particle_filter" in page.read_text()


async def test_a_stored_result_is_as_the_first(tmp_path: Path) -> None:
    how: dict[str, Any] = {"strategy": AStar(2, max_steps=4, branching=2), "engine": TextEngine(propose)}
    how |= {"verifier": TextVerifier(reward), "run_dir": tmp_path}
    (first,) = await all_of([("2", "3")], **how)
    (stored,) = await all_of([("2", "3")], **how)
    assert first.solution and stored.solution
    assert stored.solution.history == first.solution.history
    assert stored.solution.log_weights == first.solution.log_weights
    assert [c.text for c in stored.candidates] == [c.text for c in first.candidates]
    assert (stored.correct, stored.usage, stored.overhead) == (first.correct, first.usage, first.overhead)
    assert stored._repr_html_() == first._repr_html_()


async def test_a_bug_in_a_strategy_propagates(tmp_path: Path) -> None:
    class Broken(SelfConsistency):
        async def solve(self, session: Any) -> Any:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await all_of(["a"], strategy=Broken(2))
    with pytest.raises(RuntimeError, match="a bug"):
        await all_of(["a"], strategy=Broken(2), run_dir=tmp_path)
    assert not json.loads((tmp_path / SUMMARY).read_text())["complete"]


async def test_the_engines_of_this_project_are_taken_as_they_are() -> None:
    task = FakeTask(num_problems=3)
    results = [
        r async for r in solve_many(task.problems(0, 3), strategy=ParticleFilter(4), engine=FakeEngine(),
                                    verifier=FakeVerifier(), task=task)
    ]  # fmt: skip
    assert {r.problem.id for r in results} == {p.id for p in task.problems(0, 3)}
    assert all(r.error is None for r in results)


async def test_once_no_replica_is_left_the_call_raises_in_place_of_waiting(tmp_path: Path) -> None:
    class Lost(FakeEngine):
        async def generate(self, requests: Sequence[Any]) -> list[Any]:
            return [Failure(NO_REPLICA, "all have died") for _ in requests]

    how: dict[str, Any] = {"engine": Lost(), "task": FakeTask()}
    for run_dir in (None, tmp_path):
        with pytest.raises(EngineError, match="no replica is left: all have died"):
            await asyncio.wait_for(all_of(["a", "b"], run_dir=run_dir, **how), 60)
    assert not json.loads((tmp_path / SUMMARY).read_text())["complete"]
