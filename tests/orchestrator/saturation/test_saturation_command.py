"""The command: what it prints of a run, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.samples.stored import read_stored
from orchestrator.saturation.__main__ import main, task_keys
from tests.orchestrator.allocation.made_samples import write_samples
from tests.orchestrator.report.made_runs import line, write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_samples(tmp_path / "run")


@pytest.mark.parametrize("measure", ["pass", "best"])
def test_it_prints_forecasts_bounds_and_the_surface(
    run: Path, measure: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([str(run), f"measure={measure}", "epsilon=0.01"]) == 0
    printed = capsys.readouterr().out
    for said in (
        measure,
        "TTSPM, as published",
        "zero-inflated Beta",
        "N* (0.01)",
        "T=inf",
        "worst-of-N",
        "k*",
    ):
        assert said in printed
    assert "gap that a perfect verifier would close" in printed


def test_samples_are_in_the_order_in_which_they_were_drawn(run: Path) -> None:
    stored = read_stored(run)
    best = [int(x.argmax()) for x in stored.samples.log_odds]
    assert len(set(best)) > 3  # the answer is first in a line, and not in the list
    assert [len(steps) for steps in stored.steps[0]] == [2] * 16
    assert [s[-1] for s in stored.steps[0]] == pytest.approx(stored.samples.log_odds[0])


def test_problems_are_in_the_order_of_their_names(run: Path) -> None:
    """Whatever finished first: folds are cut by it."""
    before, path = read_stored(run), run / "results.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    after = read_stored(run)
    assert after.problem_ids == before.problem_ids == sorted(before.problem_ids)
    assert after.steps == before.steps


def test_answers_are_keyed_by_the_task(run: Path) -> None:
    keys = task_keys(run, trusts=False)
    assert keys(["7", "7", None]) == ["7", "7", None]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("pilot=1", "pilot=1: must be 2..16: the run has no more samples of a problem"),
        ("pilot=17", "pilot=17: must be 2..16"),
        ("epsilon=0", "epsilon=0: must be a number in (0, 1)"),
        ("measure=bets", "measure=bets: must be one of pass, best, majority; did you mean 'best'?"),
        ("pilots=4", "pilots=4: unknown key"),
    ],
)
def test_a_bad_argument_is_one_line(
    run: Path, argument: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run), argument]) == 2
    assert said in capsys.readouterr().err


def test_candidates_of_a_search_are_no_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strategy = {"strategy": {"_target_": "strategies.ParticleFilter"}}
    run = write_run(tmp_path / "pf", [line("p", True)], strategy="particle_filter", config=strategy)
    assert main([str(run)]) == 2
    assert "strategy=particle_filter, whose candidates are not independent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("strategy.prune", {"strategy": {"_target_": "strategies.BestOfN", "prune": {"1": 2}}}),
        ("strategy.stop", {"strategy": {"_target_": "strategies.BestOfN", "stop": {"rule": "beta"}}}),
        ("allocator", {"allocator": {"_target_": "orchestrator.Rounds"}}),
    ],
)
def test_samples_that_a_search_has_cut_are_refused(
    key: str, config: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by each command that reads samples: ``read_stored`` is theirs too."""
    run = write_samples(tmp_path / "run", config=config)
    assert main([str(run)]) == 2
    assert f"is a run whose samples {key} has cut, by their rewards or answers" in capsys.readouterr().err


def test_a_foreign_class_is_not_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_samples(tmp_path / "run", config={"task": {"_target_": "os.system"}})
    assert main([str(run)]) == 2
    assert "if you trust it, give trust=true" in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "has no config.json: it must be the directory of one run" in capsys.readouterr().err
