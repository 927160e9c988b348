"""What a person sees of a run: a progress bar while it lasts, a table when it is over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from orchestrator.results import Totals

SECONDS_BETWEEN_LINES = 60.0


class ProgressDisplay:
    """A live bar on a terminal; elsewhere one line a minute."""

    def __init__(self, console: Console, num_problems: int, totals: Totals) -> None:
        self._console = console
        self._totals = totals
        self._begun = self._last_line = time.monotonic()
        self._begun_tokens = totals.usage.generated_tokens
        self._num_problems = num_problems
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._row = self._bar.add_task(
            "solving", total=num_problems, completed=totals.num_problems, figures=""
        )

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    @property
    def figures(self) -> str:
        """Accuracy so far with its interval, tokens a second, errors."""
        low, high = self._totals.accuracy_ci95
        seconds = max(time.monotonic() - self._begun, 1e-9)
        rate = (self._totals.usage.generated_tokens - self._begun_tokens) / seconds
        shown = f"accuracy {self._totals.accuracy or 0:.3f} [{low:.3f}, {high:.3f}]  {rate:,.0f} tokens/s"
        return f"{shown}  {self._totals.num_errors} errors" if self._totals.num_errors else shown

    def update(self) -> None:
        """A problem was added to the totals."""
        self._bar.update(self._row, completed=self._totals.num_problems, figures=self.figures)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._console.print(f"{self._totals.num_problems}/{self._num_problems} problems  {self.figures}")


def summary_table(summary: Mapping[str, Any]) -> Table:
    """The figures of a finished run."""
    usage, overhead = summary["usage"], summary["overhead"]
    low, high = summary["accuracy_ci95"]
    seconds = summary["wall_seconds"]
    title = f"{summary['strategy']} on {summary['task']}, budget {summary['budget']}, seed {summary['seed']}"
    table = Table(title=title, show_header=False)
    rows = [
        ("problems", f"{summary['num_problems']}" + ("" if summary["complete"] else " (not complete)")),
        ("accuracy", f"{_share(summary['accuracy'])}  (95 % interval {low:.3f} to {high:.3f})"),
        (f"pass@{summary['budget']}", _share(summary["pass_at_budget"])),
        ("errors", str(summary["num_errors"])),
        ("generated tokens", f"{usage['generated_tokens']:,}"),
        ("reward calls", f"{usage['reward_calls']:,}"),
        ("prompt tokens from cache", _ratio(usage["cached_tokens"], usage["prompt_tokens"])),
        ("retried tokens", f"{overhead['retried_tokens']:,}"),
        ("wall time", f"{seconds:.1f} s"),
        ("tokens a second", f"{usage['generated_tokens'] / seconds:,.0f}" if seconds else "-"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
