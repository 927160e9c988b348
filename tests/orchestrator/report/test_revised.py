"""Accuracy by iteration, and how often a revision mends or breaks an answer, counted from result lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.page import write_report
from orchestrator.report.revised import revised
from tests.orchestrator.report.made_runs import candidate, write_run
from tests.orchestrator.report.made_runs import line as stored_line


def line(right: list[bool], entries: list[tuple[int, int, list[int]]], at: int = 0) -> dict[str, Any]:
    """A line whose candidates are right or wrong in this order; entries: candidate, iteration, read."""
    candidates = [{"correct": is_right} for is_right in right]
    return {
        "candidates": [*candidates[at : at + 1], *candidates[:at], *candidates[at + 1 :]],
        "answer_index": at if right else None,
        "history": [{"candidate": c, "chain": 0, "iteration": i, "read": read} for c, i, read in entries]
        + [{"role": "critique", "tokens": 3}],
    }


def test_it_counts_by_the_attempt_that_was_followed() -> None:
    lines = [
        line([False, True, True], [(0, 1, []), (1, 2, [0]), (2, 3, [1, 0])], at=2),
        line([True, False], [(0, 1, []), (1, 2, [0])]),
        line([], []),
    ]
    found = revised(lines)
    assert found is not None
    assert [(share.value, share.num_attempts) for share in found.accuracies] == [(0.5, 2), (0.5, 2), (1.0, 1)]
    assert found.mends is not None
    assert (found.mends.value, found.mends.num_attempts) == (1.0, 2)
    assert found.breaks is not None
    assert (found.breaks.value, found.breaks.num_attempts) == (1.0, 1)


def test_an_interval_is_over_problems() -> None:
    lines = [line([False, True], [(0, 1, []), (1, 2, [0])])] * 30
    lines += [line([False, False], [(0, 1, []), (1, 2, [0])])] * 70
    found = revised(lines)
    assert found is not None
    assert found.breaks is None
    assert found.mends is not None
    assert found.mends.value == pytest.approx(0.3)
    assert 0.18 < found.mends.low < 0.26
    assert 0.34 < found.mends.high < 0.42


def test_the_report_has_a_row_for_a_run_that_revises(tmp_path: Path) -> None:
    shown = [candidate("1", right=is_right) for is_right in (False, True)]
    records = [
        {"candidate": 0, "chain": 0, "iteration": 1, "read": []},
        {"candidate": 1, "chain": 0, "iteration": 2, "read": [0]},
    ]
    rows = [{**stored_line(f"p{i}", True, candidates=shown), "history": records} for i in range(3)]
    write_run(
        tmp_path / "run", rows, config={"strategy": {"_target_": "strategies.Refine", "selection": "argmax"}}
    )
    page = write_report(tmp_path, tmp_path / "out", 1e6).read_text()
    assert "<h3>Revisions</h3>" in page
    assert "100.0 (100.0 to 100.0) of 3" in page
    assert "0.0 → 100.0" in page


def test_without_a_revision_there_is_nothing_to_show() -> None:
    assert revised([line([True], [(0, 1, [])])]) is None
    assert revised([]) is None
