"""The shares of a draft and of the base, counted from result lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.drafted import drafted
from orchestrator.report.page import write_report
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import arrange
from tests.orchestrator.report.made_runs import candidate, write_run
from tests.orchestrator.report.made_runs import line as stored_line


def line(tokens: list[int], drafts: list[tuple[bool, int]]) -> dict[str, Any]:
    """A line of candidates with so many tokens, and drafts: whether each was accepted, and its tokens."""
    history = [
        {"path": 0, "step": i, "accepted": accepted, "reward": 0.5, "tokens": num}
        for i, (accepted, num) in enumerate(drafts, start=1)
    ]
    return {
        "candidates": [{"num_tokens": num} for num in tokens],
        "history": [*history, {"role": "critique", "tokens": 9}],
        "correct": len(tokens) > 1,
    }


def test_shares_are_of_drafts_and_of_tokens() -> None:
    found = drafted("s", "N = 1", [line([20, 10], [(True, 6), (False, 4)]), line([10], [(True, 4)])])
    assert found is not None and found.accepted is not None
    assert (found.accepted.value, found.accepted.num_attempts) == (pytest.approx(2 / 3), 3)
    assert (found.base.value, found.base.num_attempts) == (0.75, 40)
    assert (found.right.value, found.right.num_attempts) == (0.5, 2)
    assert found.refused == 2.0


def test_where_nothing_was_drafted_all_is_the_bases() -> None:
    found = drafted("s", "N = 1", [line([8], [])])
    assert found is not None and found.accepted is None
    assert found.base.value == 1.0
    assert drafted("s", "N = 1", [line([], [])]) is drafted("s", "N = 1", []) is None


def test_levels_of_acceptance_are_points_of_one_curve(tmp_path: Path) -> None:
    for accept in (0.5, 0.9):
        strategy = {"_target_": "strategies.Speculative", "selection": "majority", "accept": accept}
        write_run(tmp_path / str(accept), [stored_line("p", True)], config={"strategy": strategy})
    (setting,) = arrange(read_runs(tmp_path, 0))
    assert [[p.label.partition(", ")[2] for p in s.points] for s in setting.series] == [
        ["accept=0.5", "accept=0.9"]
    ]


def test_the_report_has_a_row_for_a_run_with_drafts(tmp_path: Path) -> None:
    rows = [stored_line(f"p{i}", True, candidates=[candidate("1", right=True)]) for i in range(3)]
    drafts = line([], [(True, 1), (False, 1)])["history"][:2]
    rows = [{**row, "history": drafts} for row in rows]
    strategy = {"_target_": "strategies.Speculative", "selection": "majority"}
    write_run(tmp_path / "run", rows, config={"strategy": strategy})
    page = write_report(tmp_path, tmp_path / "out", 1e6).read_text()
    assert "<h3>Drafts</h3>" in page
    assert "50.0 (50.0 to 50.0) of 6" in page
