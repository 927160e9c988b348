"""Stored samples as an engine, a verifier and a task: the answers are those of the run that drew them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.errors import ConfigError
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Failure, ScoreRequest
from orchestrator.search.controller import Controller
from orchestrator.serving.tenancy import RequestEngine, RequestVerifier, Rows
from orchestrator.storage.result_lines import result_line
from orchestrator.stored.engine import SampleEngine, StoredEngineConfig
from orchestrator.stored.samples import StoredRun, read_stored
from orchestrator.stored.task import StoredTask
from orchestrator.stored.verifier import StoredVerifierConfig
from orchestrator.types import Sampling
from strategies import BestOfN, SelfConsistency
from tests.orchestrator.report.made_runs import candidate, line, write_run
from tests.toy import load

MANY = Sampling(max_tokens=100)
ANSWERS = ("1", "2", "2", "1", "3")
REWARDS = (2.0, -1.0, 0.5, 1.0, -2.0)


def stored_line(problem: str) -> dict[str, Any]:
    """Five samples of two steps each, in the search's order; their rewards are log-odds."""
    samples = [
        candidate(
            answer,
            right=answer == "1",
            text=f"step {i}\n\\boxed{{{answer}}}",
            step_lengths=[7, 9],
            step_log_odds=[0.0, log_odds],
        )
        for i, (answer, log_odds) in enumerate(zip(ANSWERS, REWARDS, strict=True))
    ]
    return line(problem, True, candidates=samples, answer_index=0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", [stored_line("p0"), stored_line("p1")], budget=5)


def solved(run: Path, strategy: Any, *, seed: int = 3, wave_size: int = 0) -> list[ProblemResult]:
    """The results of a run on stored samples, as ``engine=stored verifier=stored task=stored`` build it."""
    task = StoredTask(path=str(run), answer_kind="integer")
    engine = StoredEngineConfig(path=str(run), seed=seed, wave_size=wave_size).build()
    verifier = StoredVerifierConfig(path=str(run)).open(DirectBackend(engine), task, {})
    controller = Controller(strategy, engine, verifier, task, seed)
    found: list[ProblemResult] = []
    asyncio.run(controller.run(task.problems(0, None), found.append))
    return found


def texts(results: Iterable[ProblemResult]) -> list[list[str]]:
    return [
        [c["text"] for c in sorted(result_line(r)["candidates"], key=lambda c: c["text"])] for r in results
    ]


def test_the_samples_of_a_problem_are_found_at_any_home(run: Path) -> None:
    """As the endpoint requests them: two searches of one problem do not share a home."""
    engine = StoredEngineConfig(path=str(run), seed=3).build()
    task = StoredTask(path=str(run), answer_kind="integer")
    verifier = StoredVerifierConfig(path=str(run)).open(DirectBackend(engine), task, {})
    problem = replace(next(task.problems(0, 1)), question="in other words: found by its id")
    strategy, rows = BestOfN(num_samples=5, sampling=MANY), Rows()
    found = []
    for home in ("p0", "p0#1", "p0#2"):
        judge = RequestVerifier(verifier, home, rows)
        controller = Controller(strategy, RequestEngine(engine, home, rows), judge, task, 3)
        found.append(asyncio.run(controller.solve(problem)))
    assert [result.error for result in found] == [None] * 3
    assert texts(found[1:]) == texts(found[:1]) * 2
    assert not engine._numbers


def test_every_sample_is_served_once_with_its_rewards(run: Path) -> None:
    results = solved(run, BestOfN(num_samples=5, sampling=MANY))
    expected = [f"step {i}\n\\boxed{{{answer}}}" for i, answer in enumerate(ANSWERS)]
    assert texts(results) == [expected, expected]
    for result in results:
        assert result.answer == "1" and result.candidates[0].trajectory.rewards[-1].log_odds == 2.0
        assert result.usage.generated_tokens == 20 and result.usage.reward_calls == 5


@pytest.mark.parametrize("seed", [0, 7])
def test_a_smaller_budget_takes_the_first_samples(run: Path, seed: int) -> None:
    (result, _) = solved(run, BestOfN(num_samples=2, sampling=MANY), seed=seed)
    assert texts([result]) == [["step 0\n\\boxed{1}", "step 1\n\\boxed{2}"]]


def test_waves_continue_where_the_last_one_ended(run: Path) -> None:
    strategy = SelfConsistency(num_samples=5, sampling=MANY, wave_size=2)
    (result, _) = solved(run, strategy, wave_size=2)
    assert len(set(texts([result])[0])) == len(result.candidates) == 5


def test_a_larger_budget_and_steps_fail_their_problem(run: Path) -> None:
    (result, _) = solved(run, BestOfN(num_samples=6, sampling=MANY))
    assert "has 5 samples of this problem: set budget=5" in str(result.error)
    (result, _) = solved(run, load("particle_filter"))
    assert "serves whole samples" in str(result.error)
    (result, _) = solved(run, BestOfN(num_samples=2, sampling=replace(MANY, max_tokens=3)))
    assert "has 4 tokens" in str(result.error) and "task.max_tokens" in str(result.error)


def test_another_seed_than_the_runs_finds_no_sample(run: Path) -> None:
    task, engine = StoredTask(path=str(run)), StoredEngineConfig(path=str(run), seed=1).build()
    controller = Controller(SelfConsistency(num_samples=2, sampling=MANY), engine, None, task, seed=2)
    result = asyncio.run(controller.solve(next(task.problems(0, 1))))
    assert "set budget=5 or less, and seed=1" in str(result.error)


def test_problems_are_found_by_their_questions_too(run: Path) -> None:
    stored = read_stored(str(run), "x")
    assert stored.find("other", "the question of p1") is stored.problems[1]
    assert stored.find("other", "another question") is None


def test_a_text_without_stored_rewards_fails(run: Path) -> None:
    verifier = StoredVerifierConfig(path=str(run)).open(DirectBackend(SampleEngine(StoredRun([]))), None, {})  # type: ignore[arg-type]
    assert verifier is not None
    steps = ("step 2\n", "\\boxed{2}")
    known, unknown = asyncio.run(
        verifier.score([ScoreRequest("p0", "", steps, 1), ScoreRequest("p0", "", ("step 2\n",), 0)])
    )
    assert not isinstance(known, Failure) and [r.log_odds for r in known.rewards] == [0.5]
    assert isinstance(unknown, Failure)


def test_the_task_reads_again_or_keeps_what_was_read(run: Path) -> None:
    again, kept = (StoredTask(path=str(run), answers=answers) for answers in ("text", "file"))
    text = "step 0\n\\boxed{1}"
    assert (again.extract(text), kept.extract(text)) == ("1", "1")
    other = StoredTask(path=str(run), answers="file").holding(
        StoredRun([replace(s, answers=("9",) * 5) for s in read_stored(str(run), "x").problems])
    )
    assert (other.extract(text), other.extract("new \\boxed{5}")) == ("9", "5")
    assert [p.id for p in again.problems(1, None)] == ["p1"] and again.num_problems == 2


@pytest.mark.parametrize(
    ("text", "answer"),
    [("So.\nANSWER: 7.\nDone", "7"), ("ANSWER: 1\nANSWER:\n 8", "8"), ("no", None), ("ANSWER: ", None)],
)
def test_an_answer_after_a_prefix(run: Path, text: str, answer: str | None) -> None:
    assert StoredTask(path=str(run), answer_prefix="ANSWER:").extract(text) == answer


def test_a_digest_changes_with_the_samples(run: Path) -> None:
    config = StoredEngineConfig(path=str(run))
    before = config.digest()
    with (run / "results.jsonl").open("a") as file:
        file.write("\n")
    assert before != config.digest() is not None
    assert StoredEngineConfig(path=str(run / "nothing")).digest() is None


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be the directory of a run"):
        StoredEngineConfig(path=str(tmp_path)).build()
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="has no problem with samples"):
        StoredEngineConfig(path=str(tmp_path)).build()


def test_only_independent_samples_are_offered() -> None:
    from orchestrator.config.compatibility import check_whole

    names, engine = {"strategy": "s", "engine": "stored"}, StoredEngineConfig(path="x")
    check_whole(names, BestOfN(num_samples=2, sampling=MANY), engine)
    for strategy in (load("particle_filter"), load("greedy")):  # greedy decoding draws nothing
        with pytest.raises(ConfigError, match="engine=stored has whole samples"):
            check_whole(names, strategy, engine)
    check_whole(names, load("particle_filter"), object())
