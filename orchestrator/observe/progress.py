"""What a run prints: a progress bar while it solves, a table when it has ended."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from types import TracebackType
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from orchestrator.storage.result_lines import oracle_mark
from orchestrator.storage.revised import REVISED
from orchestrator.storage.silence import silence_rows
from orchestrator.storage.totals import Totals
from orchestrator.streams import open_streams, silence
from orchestrator.terminal import printable, take_any_text


class _Console(Console):
    """Prints text as it is: brackets are not markup, control characters are escaped.

    Becomes silent when its output has no reader, since results are in files: ``| head``, ``| tee`` and
    Ctrl-C, a closed terminal, a full disk under ``> file``.
    """

    def __init__(self, width: int | None = None) -> None:
        super().__init__(width=width, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:  # rich itself handles broken pipes only
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        self.quiet = True
        silence(self.file)  # type: ignore[arg-type]


def stdout_console() -> Console:
    """Return standard output: as wide as the terminal, or as ``COLUMNS`` says; 200 columns for a file."""
    open_streams()
    take_any_text()
    console = _Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else _Console(width=200)


@cache
def run_console() -> Console:
    """Return the console of this process' runs."""
    return stdout_console()


@dataclass(frozen=True, slots=True)
class BackendFigures:
    """What only the backend knows during a run: replicas alive, and tokens generated since it started."""

    num_replicas: Callable[[], int] | None = None
    num_tokens: Callable[[], int] | None = None


class ProgressDisplay:
    """A live bar on a terminal; elsewhere one line a minute. Both are updated even if no problem ends.

    ``totals`` are the run's figures so far, its earlier parts included. ``period`` is the time between two
    lines, in seconds of wall time; ``clock`` measures the seconds of the figures.
    """

    def __init__(
        self,
        console: Console,
        num_problems: int,
        totals: Totals,
        live: BackendFigures = BackendFigures(),
        *,
        period: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._totals = totals
        self._live = live
        self._period, self._clock = period, clock
        self._begun = clock()
        self._begun_tokens, self._begun_problems = totals.usage.generated_tokens, totals.num_problems
        self._num_problems = num_problems
        self._over = threading.Event()
        self._lines = threading.Thread(target=self._print_lines, daemon=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Figures(lambda: self.figures),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._row = self._bar.add_task("solving", total=num_problems, completed=totals.num_problems)

    def __enter__(self) -> ProgressDisplay:
        if self._console.is_terminal:
            self._bar.start()
        else:
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self.is_printing:
            self._lines.join()
        self._bar.stop()

    @property
    def figures(self) -> str:
        """The accuracy so far with its interval, tokens a second, time left, replicas alive, errors."""
        low, high = self._totals.accuracy_ci95
        seconds = max(self._clock() - self._begun, 1e-9)
        parts = [
            f"accuracy {self._totals.accuracy or 0:.3f} [{low:.3f}, {high:.3f}]",
            f"{self._num_tokens / seconds:,.0f} tokens/s",
            f"{self._time_left(seconds)} left",
        ]
        if self._live.num_replicas is not None:
            parts.append(f"{self._live.num_replicas()} replicas")
        parts.append(f"{self._totals.num_errors} errors")
        return "  ".join(parts)

    @property
    def _num_tokens(self) -> int:
        """Tokens generated in this part of the run, including those of unfinished problems where known."""
        if self._live.num_tokens is not None:
            return self._live.num_tokens()
        return self._totals.usage.generated_tokens - self._begun_tokens

    def _time_left(self, seconds: float) -> str:
        """Estimate it from the pace of this part, as h:mm:ss; ``-:--:--`` before a problem has ended."""
        num_done = self._totals.num_problems - self._begun_problems
        if num_done == 0:
            return "-:--:--"
        left = (self._num_problems - self._totals.num_problems) * seconds / num_done
        return str(timedelta(seconds=round(left)))

    @property
    def is_printing(self) -> bool:
        """Whether lines may still be printed."""
        return self._lines.is_alive()

    def update(self) -> None:
        """Redraw the bar after a problem was added to the totals."""
        self._bar.update(self._row, completed=self._totals.num_problems)

    def _print_lines(self) -> None:
        while not self._over.wait(self._period):
            line = f"{self._totals.num_problems}/{self._num_problems} problems  {self.figures}"
            self._console.print(line, soft_wrap=True, highlight=False, markup=False)


class _Figures(ProgressColumn):
    """Text that is computed again at each drawing, a few times a second, even if no problem has ended."""

    max_refresh = 0.5

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:
        return Text(self._text())


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Return the figures of a finished run as a table."""
    usage, overhead = summary["usage"], summary["overhead"]
    low, high = summary["accuracy_ci95"]
    seconds = summary.get("wall_seconds")
    strategy, task, budget, seed = (summary.get(name, "-") for name in ("strategy", "task", "budget", "seed"))
    title = f"{strategy} on {task}, budget {budget}, seed {seed}"
    if oracle_mark(summary):
        title += "\nUPPER BOUND: the search knows the answers (oracle)"
    table = Table(title=title, show_header=False)
    rows = [
        ("problems", f"{summary['num_problems']}" + ("" if summary["complete"] else " (not complete)")),
        ("accuracy", f"{_share(summary['accuracy'])}  (95 % interval {low:.3f} to {high:.3f})"),
        *_schedule_rows(summary.get("schedules", {})),
        ("some candidate right", _share(summary["pass_at_budget"])),
        *_quoted_rows(summary.get("quoted", {})),
        *revised_rows(summary.get(REVISED)),
        ("errors", str(summary["num_errors"])),
        *silence_rows(summary),
        ("generated tokens", f"{usage['generated_tokens']:,}"),
        *_policy_rows(summary.get("usage_by_policy", {})),
        *_sequential_rows(usage),
        ("reward calls", f"{usage['reward_calls']:,}"),
        ("prompt tokens from cache", _ratio(usage["cached_tokens"], usage["prompt_tokens"])),
        ("retried tokens", f"{overhead['retried_tokens']:,}"),
        *([("cost", f"{summary['cost']:,.6g}")] if "cost" in summary else []),
        *_seeds_rows(summary),
        ("wall time", "not known: a part was killed" if seconds is None else f"{seconds:.1f} s"),
        ("tokens a second", _speed(summary)),
    ]
    for name, value in rows:
        table.add_row(Text(name), value)  # brackets are no markup
    return table


def _policy_rows(by_policy: Mapping[str, Mapping[str, int]]) -> list[tuple[str, str]]:
    """Return what each policy has generated and read, where there are several."""
    return [
        (f"policy {name}", f"{usage['generated_tokens']:,} generated, {usage['prompt_tokens']:,} read")
        for name, usage in by_policy.items()
    ]


def _sequential_rows(usage: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return how many tokens waited for each other, over all problems; an older release does not know."""
    num = usage.get("sequential_tokens")
    return [] if num is None else [("sequential tokens", f"{num:,}")]


def _seeds_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return whether a server honours seeds, where that was found out: without it no run can be repeated."""
    honoured = summary.get("seeds_honoured")
    return [] if honoured is None else [("seeds honoured", "true" if honoured else "false: not repeatable")]


def _schedule_rows(schedules: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the accuracies of single paths by block length; the row above shows the vote's."""
    return [
        (f"one path, blocks of {block}", f"{_share(figures['accuracy'])}  ({figures['num_paths']:,} paths)")
        for block, figures in schedules.items()
    ]


def _quoted_rows(quoted: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the figures that papers quote: those of pass@k in one row, each other in one of its own."""
    passes = {name.removeprefix("pass@"): value for name, value in quoted.items() if _is_pass(name)}
    row = (f"pass@{', '.join(passes)}", ", ".join(map(_share, passes.values())))
    others = [(name, _share(value)) for name, value in quoted.items() if not _is_pass(name)]
    return [row, *others] if passes else others


def revised_rows(revised: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return the accuracy by iteration, f and b of a strategy that revises; nothing for any other."""
    if revised is None:
        return []
    return [
        ("accuracy by iteration", " → ".join(_share(share["value"]) for share in revised["accuracies"])),
        ("wrong to right (f)", _share_of(revised["mends"])),
        ("right to wrong (b)", _share_of(revised["breaks"])),
    ]


def _share_of(share: Mapping[str, Any] | None) -> str:
    if share is None:
        return "-  (0 revisions)"
    interval = f"(95 % interval {share['low']:.3f} to {share['high']:.3f})"
    return f"{_share(share['value'])}  {interval} of {share['num_attempts']:,} revisions"


def _is_pass(name: str) -> bool:
    return name.startswith("pass@") and "[" not in name


def sweep_table(points: Sequence[tuple[Sequence[str], Mapping[str, Any]]]) -> Table:
    """Return a table with a line for each point, given as the overrides that vary and the summary."""
    table = Table(title="sweep", box=SIMPLE)
    for override in points[0][0]:
        table.add_column(override.partition("=")[0], overflow="fold")
    silent = [name for name in ("unanswered", "cut_off") if any(_num_silent(s, name) for _, s in points)]
    for name in ("accuracy", "tokens", "rewards", "errors", *silent, "seconds", "tokens/s"):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for overrides, summary in points:
        *figures, seconds, speed = _sweep_row(summary)
        silence = [f"{_num_silent(summary, name):,}" for name in silent]
        table.add_row(*(Text(o.partition("=")[2]) for o in overrides), *figures, *silence, seconds, speed)
    return table


def _num_silent(summary: Mapping[str, Any], name: str) -> int:
    """Return the number of problems; 0 for a summary of an older release, which has no such entry."""
    return int(summary.get(name, {}).get("problems", 0))


def _sweep_row(summary: Mapping[str, Any]) -> list[str]:
    (low, high), seconds = summary["accuracy_ci95"], summary.get("wall_seconds")
    return [
        f"{_share(summary['accuracy'])} [{low:.3f}, {high:.3f}]" + ("" if summary["complete"] else " so far"),
        f"{summary['usage']['generated_tokens']:,}",
        f"{summary['usage']['reward_calls']:,}",
        str(summary["num_errors"]),
        "-" if seconds is None else f"{seconds:.1f}",
        _speed(summary),
    ]


def _speed(summary: Mapping[str, Any]) -> str:
    """Return the generated tokens a second; a dash where the wall time is not known."""
    seconds = summary.get("wall_seconds")
    return f"{summary['usage']['generated_tokens'] / seconds:,.0f}" if seconds else "-"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
