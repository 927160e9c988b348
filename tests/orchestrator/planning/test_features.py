"""Votes by features of texts: a planted word decides, hard problems do not, and the file fits a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config.build import build_node
from orchestrator.config.planned import with_plan
from orchestrator.errors import ConfigError
from orchestrator.planning.command import main
from orchestrator.planning.features import fit_features, held_out, read_marked
from orchestrator.report.traces import feature_names
from orchestrator.types import Finish, Step, Trajectory
from strategies.parts.features import VotePlan
from strategies.self_consistency import SelfConsistency
from tests.orchestrator.report.made_runs import candidate, line, write_run
from tests.toy import sampling

HEDGES = feature_names().index("hedges")


def sample(right: bool, text: str, num_tokens: int) -> dict[str, Any]:
    answer = "1" if right else "0"
    return candidate(answer, right=right, text=text, num_tokens=num_tokens, group=0 if right else 1)


def problem(number: int, rng: np.random.Generator) -> dict[str, Any]:
    """Two right samples, three wrong ones that hedge; a hard one has long texts and one right sample."""
    long, num_right = (20, 1) if number % 2 else (0, 2)
    texts = ["It is 1." if right else "Maybe, perhaps 0." for right in [True] * num_right + [False] * 3]
    lengths = 20 + long + rng.integers(0, 10, size=len(texts))
    shown = [
        sample(not text.startswith("Maybe"), text, int(n)) for text, n in zip(texts, lengths, strict=True)
    ]
    return line(f"p{number}", False, candidates=shown, answer_index=0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    return write_run(tmp_path / "run", [problem(i, rng) for i in range(40)], strategy="self_consistency")


def test_a_planted_word_decides_and_difficulty_does_not(run: Path) -> None:
    problems = read_marked(run)
    fitted = fit_features(problems, ridge=1.0)
    assert fitted.slopes[HEDGES] < 0
    assert abs(fitted.standardised[0]) < 0.2 * abs(fitted.standardised[HEDGES])
    assert [each.answered([1.0] * len(each.samples)) for each in problems] == [0.0] * 40
    assert held_out(problems, 1.0, 5) == [1.0] * 40


def test_a_fold_without_others_counts_votes(run: Path) -> None:
    problems = read_marked(run)
    right = [s for s in problems[0].samples if s["correct"]]
    alone = [problems[0], type(problems[0])(problems[0].rows[: len(right)], right)]
    assert held_out(alone, 1.0, 2) == [0.0, 1.0]


def test_the_file_makes_the_vote_of_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan replaces its path in the configuration, and its votes are those of the fit."""
    file = run.parent / "votes.json"
    assert main(["features", str(run), f"to={file}"]) == 0
    printed = capsys.readouterr().out
    assert "features (held out)" in printed and "hedges" in printed
    node = {"_target_": "strategies.SelfConsistency", "num_samples": 2, "weight": "features", "plan": None}
    plain = with_plan({"plan": str(file), "strategy": node})
    assert plain["strategy"]["plan"]["digest"] == json.loads(file.read_text())["digest"]
    assert with_plan(plain) == plain
    strategy = build_node(plain["strategy"], "strategy")
    assert isinstance(strategy, SelfConsistency) and strategy.plan is not None
    assert strategy._vote().weight is strategy.plan and strategy.readouts == ()
    (first, *_) = read_marked(run)
    expected = fit_features(read_marked(run), 1.0).votes(first.rows)
    right = Trajectory((Step("It is 1.", tuple(range(int(first.rows[0, 0]))), Finish.ANSWER),))
    assert strategy.plan(right) == pytest.approx(expected[0])


def test_a_file_of_another_kind_is_refused(run: Path) -> None:
    assert main(["features", str(run), f"to={run.parent / 'votes.json'}"]) == 0
    with pytest.raises(ConfigError, match=r"is no plan: its kind is vote plan"):
        with_plan({"plan": str(run.parent / "votes.json"), "strategy": {"plan": None}})


def test_weight_and_plan_go_together() -> None:
    plan = VotePlan((0.0, 0.0), 0.0, ())
    with pytest.raises(ConfigError, match=r"strategy\.plan=null: must be a file of python -m"):
        SelfConsistency(2, sampling(), weight="features")
    with pytest.raises(ConfigError, match=r"strategy\.plan=.*: needs strategy\.weight=features"):
        SelfConsistency(2, sampling(), plan=plan)
    with pytest.raises(ConfigError, match=r"coefficients=2: must be 3, for tokens, steps and 1 lists"):
        VotePlan((0.0, 0.0), 0.0, ("wait",))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "to=null: must be the file to write"),
        (["to=x", "ridge=0"], "ridge=0: must be a number of 1e-06 or more"),
        (["to=x", "folds=one"], "folds=one: must be a number of 2 or more"),
    ],
)
def test_bad_arguments_are_one_line(
    arguments: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["features", str(run), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_samples_that_a_search_has_cut_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = {"strategy": {"_target_": "strategies.SelfConsistency", "prune": {"1": 2}}}
    lines = [problem(i, np.random.default_rng(0)) for i in range(4)]
    assert main(["features", str(write_run(tmp_path / "run", lines, config=cut)), "to=x"]) == 2
    assert "is a run whose samples strategy.prune has cut" in capsys.readouterr().err


def test_a_run_without_right_samples_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", [line("p", False, candidates=[sample(False, "0", 1)])])
    assert main(["features", str(folder), "to=x"]) == 2
    assert "has no problem with right and wrong samples" in capsys.readouterr().err
    assert main(["features", "--help"]) == 0
