"""The report's row for a method that revises."""

from __future__ import annotations

from pathlib import Path

from orchestrator.report.page import write_report
from tests.orchestrator.report.made_runs import candidate, write_run
from tests.orchestrator.report.made_runs import line as stored_line


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
