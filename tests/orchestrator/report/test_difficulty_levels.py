"""Accuracy by difficulty, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.__main__ import main
from orchestrator.report.levels import by_difficulty, levels_of, read_samples, samples_of
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import Setting, arrange
from tests.orchestrator.report.made_runs import candidate, line, lines, write_run

SEARCH = {"strategy": {"_target_": "strategies.particle_filter.ParticleFilter", "selection": "argmax"}}


def setting(folder: Path) -> Setting:
    (only,) = arrange(read_runs(folder, 0))
    return only


def sampled(folder: Path, num_right: list[int], num: int = 4, **fields: Any) -> Path:
    """A run of independent samples: ``num_right[i]`` of ``num`` are right, and the first is chosen."""
    rows = []
    for i, right in enumerate(num_right):
        found = [candidate("1" if j < right else "0", right=j < right) for j in range(num)]
        rows.append(line(f"p{i}", right > 0, candidates=found))
    return write_run(folder, rows, budget=num, **fields)


def searched(folder: Path, outcomes: list[int], **fields: Any) -> Path:
    """Another method's run, in another order of completion."""
    return write_run(folder, lines(outcomes)[::-1], strategy="particle_filter", config=SEARCH, **fields)


def test_levels_are_fifths_by_the_pass_rate_of_samples(tmp_path: Path) -> None:
    """Ten problems; the search solves the seven easiest, which are the last."""
    sampled(tmp_path / "a", list(range(10)), num=9)
    searched(tmp_path / "b", [int(i > 2) for i in range(10)], budget=9)
    found = setting(tmp_path)
    samples = samples_of(found)
    assert samples is not None and samples.source == "best_of_n N=9"
    assert samples.rates == pytest.approx({f"p{i}": i / 9 for i in range(10)})
    table = by_difficulty(found, samples)
    assert table is not None
    assert [(level.number, level.num_problems) for level in table.levels] == [(i, 2) for i in range(1, 6)]
    assert (table.levels[0].low, table.levels[0].high) == pytest.approx((8 / 9, 1))
    ours, search = table.rows
    assert (ours.label, ours.accuracies) == ("N=9", (1, 1, 1, 1, 0.5))
    assert (search.label, search.accuracies) == ("N=9", (1, 1, 1, 0.5, 0))
    assert (ours.is_circular, search.is_circular) == (True, False)
    assert search.is_best == (True, True, True, False, False)
    assert ours.is_best == (True,) * 5


def test_the_largest_point_of_samples_tells_over_all_its_seeds(tmp_path: Path) -> None:
    """Eight samples of two seeds, rather than the four of the smaller point; a search's are none at all."""
    sampled(tmp_path / "small", [4, 0, 4], num=4)
    for seed, num_right in enumerate(([8, 4, 0], [8, 0, 2])):
        sampled(tmp_path / f"large{seed}", num_right, num=8, seed=seed)
    searched(tmp_path / "search", [1, 1, 1], budget=64)
    samples = samples_of(setting(tmp_path))
    assert samples is not None and samples.source == "best_of_n N=8, 2 seeds"
    assert samples.rates == {"p0": 1.0, "p1": 0.25, "p2": 0.125}


PRUNED = {"strategy": {"_target_": "strategies.BestOfN", "prune": {"1": 2}}}


def test_samples_that_a_search_has_cut_tell_nothing(tmp_path: Path) -> None:
    """Where they are all there is, there are none; with the seed of others they are partly those."""
    sampled(tmp_path / "pruned", [0, 1, 2, 3, 3], num=8, config=PRUNED)
    assert samples_of(setting(tmp_path)) is None
    sampled(tmp_path / "whole", [0, 2, 2, 4, 4], num=4)
    found = setting(tmp_path)
    samples = samples_of(found)
    assert samples is not None and samples.rates == {"p0": 0, "p1": 0.5, "p2": 0.5, "p3": 1, "p4": 1}
    table = by_difficulty(found, samples)
    assert table is not None and [row.is_circular for row in table.rows] == [True, True]


def test_a_run_elsewhere_tells_the_levels_of_these_problems(tmp_path: Path) -> None:
    """Ten problems, number i right in i of nine samples; the run solves the seven easiest and one more."""
    samples = read_samples(sampled(tmp_path / "samples", list(range(10)), num=9))
    assert levels_of(samples.rates) == {f"p{i}": 5 - i // 2 for i in range(10)}
    rows = [*lines([int(i > 2) for i in range(10)]), line("other", True)]
    write_run(tmp_path / "sweep" / "a", rows, strategy="astar", config=SEARCH)
    table = by_difficulty(setting(tmp_path / "sweep"), samples)
    assert table is not None and table.rows[0].accuracies == (1, 1, 1, 0.5, 0)
    assert [level.num_problems for level in table.levels] == [2] * 5


@pytest.mark.parametrize(("seed", "is_circular"), [(0, True), (1, False)])
def test_samples_of_the_seed_that_estimated_difficulty_are_circular(
    tmp_path: Path, seed: int, is_circular: bool
) -> None:
    """Four samples are the first of the nine of a run with the same seed; a search draws others."""
    samples = read_samples(sampled(tmp_path / "samples", list(range(5)), num=9, seed=seed))
    sampled(tmp_path / "sweep" / "a", [0, 1, 2, 3, 4], num=4, seed=0)
    searched(tmp_path / "sweep" / "b", [0, 1, 1, 1, 1], seed=0)
    table = by_difficulty(setting(tmp_path / "sweep"), samples)
    assert table is not None
    assert [row.is_circular for row in table.rows] == [is_circular, False]


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("reference=/nonexistent", "must be the directory of a run with results"),
        ("refrence=x", "refrence=x: unknown key; did you mean 'reference'?"),
    ],
)
def test_bad_arguments_are_one_line(
    tmp_path: Path, argument: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(tmp_path / "a", [1, 0])
    assert main([str(tmp_path), argument]) == 2
    (only,) = capsys.readouterr().err.splitlines()
    assert line in only


def test_without_samples_there_is_no_table(tmp_path: Path) -> None:
    searched(tmp_path / "a", [1, 0])
    assert samples_of(setting(tmp_path)) is None


def test_one_sample_a_problem_is_none(tmp_path: Path) -> None:
    sampled(tmp_path / "a", [1, 0, 1], num=1)
    assert samples_of(setting(tmp_path)) is None


def test_problems_of_one_rate_are_not_told_apart(tmp_path: Path) -> None:
    sampled(tmp_path / "a", [2, 2, 2])
    found = setting(tmp_path)
    samples = samples_of(found)
    assert samples is not None and by_difficulty(found, samples) is None


@pytest.mark.heavy
def test_other_samples_may_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are named count, also where the report has samples of its own."""
    elsewhere = sampled(tmp_path / "samples", [0, 1, 2, 3, 4])
    sampled(tmp_path / "sweep" / "a", [4, 3, 2, 1, 0])
    searched(tmp_path / "sweep" / "b", [1, 1, 1, 1, 0])
    table = by_difficulty(setting(tmp_path / "sweep"), read_samples(elsewhere))
    assert table is not None and table.rows[1].accuracies == (0, 1, 1, 1, 1)
    assert main([str(tmp_path / "sweep"), f"reference={elsewhere}", f"out={tmp_path}"]) == 0
    text = (tmp_path / "report.html").read_text()
    assert "Accuracy by difficulty" in text and "the samples of run samples" in text
    assert "N=4 (circular)</td>" in text  # both have seed 0
    write_run(tmp_path / "strange", [line("other", True)])
    assert main([str(tmp_path / "sweep"), f"reference={tmp_path / 'strange'}"]) == 2
    assert "has no problems of these runs" in capsys.readouterr().err
