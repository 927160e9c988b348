"""Each knob of the last choice, replayed, is the run that was made with it: for every strategy that has one.

The fake models answer at once, so that the runs are many; with real models see ``test_replay``.
"""

from __future__ import annotations

import asyncio
import zlib
from functools import cache
from typing import Any

import pytest

from orchestrator.config.build import build_node
from orchestrator.config.files import CONF
from orchestrator.errors import ConfigError
from orchestrator.replay.whatif import Recorded, WhatIf, replay_all
from orchestrator.search.budgets import independent_knob
from orchestrator.search.controller import Controller
from orchestrator.storage.result_lines import result_line
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from tests.orchestrator.real_runs import composed

pytestmark = pytest.mark.heavy

NUM_PROBLEMS, BUDGET = 20, 8
SAME = ("answer", "correct", "candidates", "answer_index")
Answers = dict[str, dict[str, Any]]

SELECTING = sorted(
    path.stem for path in (CONF / "strategy").glob("*.yaml") if "\nselection:" in path.read_text()
)

ALONE = ("best_of_n", "self_consistency")  # of independent samples, with selections of their own
UNREWARDED = "speculative"  # votes, and asks for no reward of what the base has written


def moody(question: str, steps: tuple[str, ...]) -> float:
    """A reward that depends on every letter and knows nothing: so the best and the most frequent differ."""
    return 0.3 + zlib.crc32("".join(steps).encode()) % 97 / 200


@cache
def configured(strategy: str) -> dict[str, Any]:
    config, _ = composed(f"strategy={strategy}", f"budget={BUDGET}")
    return config | {
        "task": {"_target_": "orchestrator.testing.FakeTask"},
        "verifier": {"readout": "per_step"},
    }


@cache
def recorded(strategy: str, *knobs: str, budget: int = BUDGET) -> Recorded:
    """A run of a strategy, as run.py would record it; another budget for independent samples alone."""
    config = configured(strategy)
    changes: dict[str, Any] = {key: value for key, _, value in (knob.partition("=") for knob in knobs)}
    if budget != BUDGET:
        knob = independent_knob(config["strategy"]["_target_"])
        assert knob is not None
        changes[knob] = budget
    config = config | {"budget": budget, "strategy": config["strategy"] | changes}
    task, lines = FakeTask(), []
    search = build_node(config["strategy"], "strategy")
    policies = {"draft": FakeEngine()}
    controller = Controller(
        search, FakeEngine(), FakeVerifier(moody), task, seed=config["seed"], policies=policies
    )
    kept = controller.run(task.problems(0, NUM_PROBLEMS), lambda r: lines.append(result_line(r)))
    asyncio.run(kept)
    return Recorded(config, {"strategy": strategy}, lines)


def answers(lines: Any) -> Answers:
    return {line["problem_id"]: {key: line[key] for key in SAME} for line in lines}


def replayed(run: Recorded, **knobs: Any) -> Answers:
    return answers(asyncio.run(replay_all(run, WhatIf(**knobs))))


def test_there_are_strategies_that_select() -> None:
    assert len(SELECTING) >= 9


@pytest.mark.heavy
@pytest.mark.parametrize("strategy", [name for name in SELECTING if name not in (*ALONE, UNREWARDED)])
def test_another_selection_is_the_run_with_it(strategy: str) -> None:
    selections = ("argmax", "majority", "weighted_majority")
    real = {s: answers(recorded(strategy, f"selection={s}").lines) for s in selections}
    assert real["argmax"] != real["majority"]  # else nothing could go wrong
    assert {s: replayed(recorded(strategy), selection=s) for s in selections} == real


@pytest.mark.heavy
def test_a_selection_by_rewards_that_were_not_recorded_is_refused() -> None:
    """What the base writes for a refused draft has no reward, and a vote needs none."""
    run = recorded(UNREWARDED)
    assert replayed(run, selection="majority") == answers(run.lines)
    with pytest.raises(ConfigError, match=r"selection=argmax: .* without the rewards of \d+ cand"):
        replayed(run, selection="argmax")


@pytest.mark.heavy
@pytest.mark.parametrize("strategy", ALONE)
def test_likeness_among_independent_samples_is_the_run_with_it(strategy: str) -> None:
    real = answers(recorded(strategy, "selection=mbr").lines)
    assert replayed(recorded(strategy), selection="mbr") == real != answers(recorded(strategy).lines)


def test_a_draw_among_independent_samples_is_the_runs_own_draw() -> None:
    """Sampling the answer takes the first random number of its problem, then as now."""
    real = answers(recorded("best_of_n", "selection=sample").lines)
    assert replayed(recorded("best_of_n"), selection="sample") == real
    assert real != answers(recorded("best_of_n").lines)


@pytest.mark.parametrize("aggregation", ["last", "min", "prod", "mean"])
def test_another_aggregation_of_independent_samples_is_the_run_with_it(aggregation: str) -> None:
    real = answers(recorded("best_of_n", f"aggregation={aggregation}").lines)
    assert replayed(recorded("best_of_n"), aggregation=aggregation) == real


@pytest.mark.parametrize("tie_break", ["earliest", "likelihood"])
@pytest.mark.parametrize("weight", ["count", "reward", "likelihood"])
def test_another_vote_is_the_run_with_it(weight: str, tie_break: str) -> None:
    """Rewards are there because the run that is replayed voted by them."""
    real = recorded("self_consistency", f"weight={weight}", f"tie_break={tie_break}")
    again = replayed(recorded("self_consistency", "weight=reward"), weight=weight, tie_break=tie_break)
    for problem, line in answers(real.lines).items():
        chosen = again[problem]
        assert (chosen["answer"], chosen["answer_index"]) == (line["answer"], line["answer_index"])
        weights = [[c["log_weight"] for c in x["candidates"]] for x in (chosen, line)]
        assert weights[0] == weights[1]


@pytest.mark.parametrize("budget", [1, 3])
@pytest.mark.parametrize("strategy", ["best_of_n", "self_consistency", "hex", "hex_weighted"])
def test_a_smaller_n_is_the_run_with_it(strategy: str, budget: int) -> None:
    assert replayed(recorded(strategy), budget=budget) == answers(recorded(strategy, budget=budget).lines)


@pytest.mark.parametrize("strategy", ["hex", "hex_weighted"])
def test_another_tie_break_of_a_vote_over_schedules_is_the_run_with_it(strategy: str) -> None:
    real = answers(recorded(strategy, "tie_break=likelihood").lines)
    assert replayed(recorded(strategy), tie_break="likelihood") == real
