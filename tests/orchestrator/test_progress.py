"""What a person sees: the table, and one line a minute where there is no terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from orchestrator import progress
from orchestrator.progress import ProgressDisplay, summary_table
from orchestrator.results import Totals

SUMMARY: dict[str, Any] = {
    "strategy": "greedy", "task": "chain", "budget": 4, "seed": 0, "num_problems": 10, "complete": True,
    "accuracy": 0.5, "accuracy_ci95": [0.2, 0.8], "pass_at_budget": 0.7, "num_errors": 1, "wall_seconds": 2.0,
    "usage": {"generated_tokens": 1000, "reward_calls": 40, "cached_tokens": 30, "prompt_tokens": 40},
    "overhead": {"retried_tokens": 5, "speculated_tokens": 0},
}  # fmt: skip


def show(**changes: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(summary_table(SUMMARY | changes))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_has_the_figures() -> None:
    text = show()
    for figure in ("0.500", "0.200 to 0.800", "pass@4", "0.700", "1,000", "75%", "500", "2.0 s"):
        assert figure in text
    assert "not complete" not in text


def test_an_empty_run_has_a_table_too() -> None:
    text = show(accuracy=None, pass_at_budget=None, complete=False, wall_seconds=0.0, num_problems=0)
    assert "not complete" in text


@pytest.mark.parametrize(("seconds", "num_lines"), [(0.0, 1), (1e9, 0)])
def test_one_line_a_while_without_a_terminal(
    seconds: float, num_lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", seconds)
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with ProgressDisplay(console, 10, Totals()) as display:
        display.update()
    assert len(console.file.getvalue().splitlines()) == num_lines  # type: ignore[attr-defined]


def test_a_bar_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with ProgressDisplay(console, 10, Totals()) as display:
        display.update()
    assert "accuracy" in console.file.getvalue()  # type: ignore[attr-defined]
