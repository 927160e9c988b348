"""Rules that save compute: their levels are points of one curve, and what they save is compared and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.comparison import compare_all, reference_of
from orchestrator.report.granted import granted
from orchestrator.report.measures import measure_all
from orchestrator.report.page import make_section, write_report
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import Setting, arrange
from tests.orchestrator.report.made_runs import candidate, line, write_run

pytestmark = pytest.mark.heavy

NEVER = {"rule": "none", "at": None}


def arranged(folder: Path) -> Setting:
    (only,) = arrange(read_runs(folder, 0))
    return only


def ran(folder: Path, right: list[int], tokens: int, num: int, **knobs: Any) -> None:
    """A run of best_of_n whose problems have ``num`` samples; ``allocator`` is no knob of the strategy."""
    allocator, budget = knobs.pop("allocator", None), knobs.pop("budget", 16)
    node = {"_target_": "strategies.BestOfN", "selection": "argmax", "stop": NEVER, "prune": None, **knobs}
    config = {"strategy": node, **({"allocator": allocator} if allocator else {})}
    rows = [
        line(f"p{i}", bool(r), tokens=tokens, candidates=[candidate("1", right=bool(r))] * (num + i))
        for i, r in enumerate(right)
    ]
    write_run(folder, rows, budget=budget, config=config)


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    ran(tmp_path / "all", [1, 1, 0], 160, 16)
    for at, tokens in ((0.9, 90), (0.5, 40)):
        ran(tmp_path / f"at{at}", [1, at > 0.5, 0], tokens, 4, stop={"rule": "threshold", "at": at})
    for step in (3, 4):
        ran(tmp_path / f"prune{step}", [1, 0, 0], 30 * step, 16, prune={str(step): 8})
    ran(tmp_path / "rounds", [1, 1, 1], 160, 16, allocator={"_target_": "orchestrator.Rounds", "first": 2})
    return tmp_path


def test_the_levels_of_a_rule_are_points_of_one_curve(sweep: Path) -> None:
    found = {s.name: [p.label for p in s.points] for s in arranged(sweep).series}
    same = "allocator=uniform, prune=null"
    assert found == {
        f"best_of_n ({same}, stop.rule=none)": ["N=16"],
        f"best_of_n ({same}, stop.rule=threshold)": ["N=16, stop.at=0.5", "N=16, stop.at=0.9"],
        "best_of_n (allocator=uniform, prune=yes, stop.rule=none)": [
            "N=16, prune=3: 8",
            "N=16, prune=4: 8",
        ],
        "best_of_n (allocator=rounds, prune=null, stop.rule=none)": ["N=16"],
    }


def test_rules_with_other_budgets_are_other_series(tmp_path: Path) -> None:
    ran(tmp_path / "stop", [1, 0], 40, 2, stop={"rule": "threshold", "at": 0.9})
    ran(tmp_path / "rounds", [1, 0], 40, 2, budget=6, allocator={"_target_": "orchestrator.Rounds"})
    assert [s.name for s in arranged(tmp_path).series] == [
        "best_of_n (allocator=rounds, stop.rule=none)",
        "best_of_n (allocator=uniform, stop.rule=threshold)",
    ]


def test_the_curve_is_drawn_against_both_costs(sweep: Path) -> None:
    section = make_section(arranged(sweep), "s0")
    names = [drawing.name for drawing in section.drawings]
    assert "accuracy_n" not in names  # several points of one N
    assert "accuracy_generated_tokens" in names
    curve = section.curves["best_of_n (allocator=uniform, prune=null, stop.rule=threshold)"]
    assert [(p.costs["generated_tokens"], p.accuracy.value) for p in curve] == [(40, 1 / 3), (90, 2 / 3)]


def test_sequential_tokens_have_a_curve_where_runs_counted_them(tmp_path: Path) -> None:
    for at in (0.5, 0.9):
        ran(tmp_path / str(at), [1, 0], 40, 2, stop={"rule": "threshold", "at": at})
    setting = arranged(tmp_path)
    for series in setting.series:
        for point in series.points:
            point.runs[0].columns.sequential_tokens = [8, 9]
    drawn = [d.name for d in make_section(setting, "s").drawings]
    assert "accuracy_sequential_tokens" in drawn
    assert measure_all(setting)["best_of_n"][0].costs["sequential_tokens"] == 8.5


def test_a_strategy_without_a_rule_is_the_reference_of_those_with_one(sweep: Path) -> None:
    setting = arranged(sweep)
    reference = reference_of(setting)
    assert reference is not None
    assert reference.name == "best_of_n (allocator=uniform, prune=null, stop.rule=none)"
    rows = {(row.label, row.num_wins, row.num_losses) for row in compare_all(setting, reference)}
    assert rows == {
        ("N=16", 1, 0),
        ("N=16, stop.at=0.5", 0, 1),
        ("N=16, stop.at=0.9", 0, 0),
        ("N=16, prune=3: 8", 0, 1),
        ("N=16, prune=4: 8", 0, 1),
    }


def test_the_page_says_how_many_samples_a_problem_has_drawn(sweep: Path) -> None:
    rows = {row.label: row for row in granted(arranged(sweep)) if "threshold" in row.series}
    row = rows["N=16, stop.at=0.9"]
    assert (row.mean, row.quantiles, row.most) == (5, (4, 5, 5), 6)
    assert (row.few, row.many) == (1.0, 0.0)
    assert {r.series for r in granted(arranged(sweep))} == {
        s.name for s in arranged(sweep).series if "uniform, prune=null, stop.rule=none" not in s.name
    }
    assert "Samples by problem" in write_report(sweep, sweep / "out", 0).read_text()
