"""Accuracy by iteration, and how often a revision mends or breaks an answer, counted from result lines."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.storage.revised import revised
from orchestrator.storage.totals import Totals
from tests.orchestrator.report.made_runs import candidate
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


def test_without_a_revision_there_is_nothing_to_show() -> None:
    assert revised([line([True], [(0, 1, [])])]) is None
    assert revised([]) is None


def test_the_summary_holds_it() -> None:
    """So the printed table and the trackers show f and b; a run that revises nothing has no such entry."""
    totals, plain = Totals(), Totals()
    records = [
        {"candidate": 0, "chain": 0, "iteration": 1, "read": []},
        {"candidate": 1, "chain": 0, "iteration": 2, "read": [0]},
    ]
    for i, before in enumerate((True, False, False)):
        shown = [candidate("1", right=before), candidate("1", right=True)]
        totals.add({**stored_line(f"p{i}", True, candidates=shown), "history": records})
        plain.add(stored_line(f"p{i}", True))
    found = totals.summary()["revised"]
    assert [share["value"] for share in found["accuracies"]] == [pytest.approx(1 / 3), 1.0]
    assert found["mends"] == {"value": 1.0, "low": 1.0, "high": 1.0, "num_attempts": 2}
    assert found["breaks"]["value"] == 0.0
    assert "revised" not in plain.summary()


def test_the_fusions_of_a_pipeline_are_no_revisions() -> None:
    """They alone are recorded, by layer; a fusion of fusions follows no attempt of a chain."""
    assert revised([line([True, False, True], [(1, 3, [0]), (2, 4, [1])])]) is None
