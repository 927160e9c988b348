"""What is compared with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import Setting, arrange
from tests.orchestrator.report.made_runs import lines, write_run

CHAIN = "orchestrator.ChainTask"
KNOBS = {"_target_": "s", "selection": "argmax", "aggregation": "last"}


def arranged(folder: Path) -> list[Setting]:
    return arrange(read_runs(folder, 0))


def shape(settings: list[Setting]) -> dict[str, dict[str, list[int]]]:
    """By setting and series, the number of runs of each point."""
    return {s.name: {x.name: [len(p.runs) for p in x.points] for x in s.series} for s in settings}


def test_runs_are_one_series_of_points_with_a_run_for_each_seed(tmp_path: Path) -> None:
    for budget in (2, 4):
        for seed in (0, 1, 2):
            write_run(tmp_path / f"{budget}-{seed}", lines([1, 0]), budget=budget, seed=seed)
    assert shape(arranged(tmp_path)) == {"chain, engine embedded": {"best_of_n": [3, 3]}}


def test_tasks_engines_and_splits_are_told_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a", lines([1]))
    write_run(tmp_path / "b", lines([1]), task="countdown")
    write_run(tmp_path / "c", lines([1]), config={"engine": {"_target_": "e", "model": "another"}})
    task = {"_target_": "t", "split": "dev"}
    write_run(tmp_path / "d", lines([1]), task="countdown", config={"task": task})
    names = [s.name for s in arranged(tmp_path)]
    assert names == [
        "chain, engine embedded (engine.model=another)",
        "chain, engine embedded (engine.model=m)",
        f"countdown, engine embedded (task._target_={CHAIN}, task.limit=4, task.offset=0, task.split=test)",
        "countdown, engine embedded (task._target_=t, task.split=dev)",
    ]


def test_what_is_only_faster_is_the_same_setting(tmp_path: Path) -> None:
    write_run(tmp_path / "a", lines([1]), seed=0)
    write_run(
        tmp_path / "b",
        lines([1]),
        seed=1,
        config={"engine": {"_target_": "e", "model": "m", "cache_bytes": 2}},
    )
    assert shape(arranged(tmp_path)) == {"chain, engine embedded": {"best_of_n": [2]}}


@pytest.mark.parametrize(
    ("nodes", "series"),
    [
        # A knob that differs at one budget names the series ...
        (
            [{**KNOBS, "selection": "argmax"}, {**KNOBS, "selection": "sample"}],
            ["best_of_n (selection=argmax)", "best_of_n (selection=sample)"],
        ),
        # ... one that no run varies does not.
        ([KNOBS, KNOBS], ["best_of_n"]),
    ],
)
def test_knobs_make_series(tmp_path: Path, nodes: list[dict[str, Any]], series: list[str]) -> None:
    for i, node in enumerate(nodes):
        write_run(tmp_path / str(i), lines([1]), seed=i, config={"strategy": node})
    assert [s.name for s in arranged(tmp_path)[0].series] == series


def test_limits_are_points_of_one_series(tmp_path: Path) -> None:
    for tokens in (100, 50):
        limits = {"generated_tokens": tokens, "reward_calls": None, "seconds": None}
        write_run(tmp_path / str(tokens), lines([1]), config={"limits": limits})
    (setting,) = arranged(tmp_path)
    assert [p.limits for p in setting.series[0].points] == [
        (("generated_tokens", 50),),
        (("generated_tokens", 100),),
    ]


def test_of_two_runs_with_one_seed_the_longer_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a", lines([1]))
    write_run(tmp_path / "b", lines([1, 0, 1]))
    write_run(tmp_path / "c", lines([1, 0]))
    (point,) = arranged(tmp_path)[0].series[0].points
    assert [run.name for run in point.runs] == ["b"]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_runs_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigError, match=r"RUN_OR_SWEEP_DIR=.*(no directory|no finished)"):
        arranged(tmp_path / folder)
