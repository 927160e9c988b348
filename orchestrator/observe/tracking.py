"""Where a run's figures go while it runs: nowhere, or a JSON-lines file; others have files of their own."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.observe.diagnostics import search_figures
from orchestrator.storage.appending import end_line
from orchestrator.storage.json_reading import read_lines
from orchestrator.storage.plain_files import open_to_append
from orchestrator.storage.results import stream_results
from orchestrator.storage.totals import Totals

METRICS = "metrics.jsonl"
log = logging.getLogger(__name__)


def figures(line: Mapping[str, Any], totals: Totals) -> dict[str, Any]:
    """Return what a tracker shows of one finished problem and of the run so far."""
    return {
        "problem/correct": int(line["correct"]),
        "problem/error": int(line["error"] is not None),
        "problem/seconds": line["seconds"],
        "problem/generated_tokens": line["usage"]["generated_tokens"],
        "problem/reward_calls": line["usage"]["reward_calls"],
        "run/accuracy": totals.accuracy,
        "run/pass_at_budget": totals.pass_at_budget,
        "run/num_problems": totals.num_problems,
        "run/num_errors": totals.num_errors,
        "run/generated_tokens": totals.usage.generated_tokens,
        **search_figures(line["history"]),
    }


class Tracker(Protocol):
    """Where a run's figures go while it runs. A tracker that raises is not called again."""

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        """Start a run. ``totals`` are its figures so far; each line is added before ``problem`` gets it."""
        ...

    def problem(self, line: Mapping[str, Any]) -> None:
        """Take one finished problem, as its line in results.jsonl."""
        ...

    def finish(self, summary: Mapping[str, Any]) -> None:
        """End the run, whose ``summary.json`` is ``summary``."""
        ...


@dataclass(frozen=True)
class NoTracker:
    """Tracks nothing."""

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        pass

    def problem(self, line: Mapping[str, Any]) -> None:
        pass

    def finish(self, summary: Mapping[str, Any]) -> None:
        pass


class GuardedTracker:
    """Wraps a tracker: its first failure is one warning, and the search continues without it."""

    def __init__(self, inner: Tracker) -> None:
        self._inner: Tracker | None = inner

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._call(lambda inner: inner.start(run_dir, config, totals))

    def problem(self, line: Mapping[str, Any]) -> None:
        self._call(lambda inner: inner.problem(line))

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._call(lambda inner: inner.finish(summary))

    def _call(self, action: Callable[[Tracker], None]) -> None:
        if self._inner is None:
            return
        try:
            action(self._inner)
        except Exception as failure:  # noqa: BLE001 - whatever a tracker raises
            name, kind = type(self._inner).__name__, type(failure).__name__
            log.warning("%s: %s: %s; the run continues without it", name, kind, failure)
            self._inner = None


@dataclass(frozen=True)
class Trackers:
    """Several trackers as one, called in their order."""

    inner: Sequence[Tracker]

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        for tracker in self.inner:
            tracker.start(run_dir, config, totals)

    def problem(self, line: Mapping[str, Any]) -> None:
        for tracker in self.inner:
            tracker.problem(line)

    def finish(self, summary: Mapping[str, Any]) -> None:
        for tracker in self.inner:
            tracker.finish(summary)


@dataclass
class JsonlTracker:
    """Appends one line of figures per finished problem to ``metrics.jsonl`` of the run directory.

    A resumed run first writes the lines that are missing for problems that an earlier part has finished.
    """

    _totals: Totals = field(default_factory=Totals, init=False)
    _path: Path = field(default=Path(METRICS), init=False)

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._path, self._totals = run_dir / METRICS, totals
        end_line(self._path)
        if totals.num_problems:
            self._write_lost(run_dir)

    def problem(self, line: Mapping[str, Any]) -> None:
        self._write(line, self._totals)

    def _write_lost(self, run_dir: Path) -> None:
        """Write the missing lines in the order of the results, each with the run's figures up to it."""
        written, totals = _written(self._path), Totals()
        for line in stream_results(run_dir):
            totals.add(line)
            if line["problem_id"] not in written:
                self._write(line, totals)

    def _write(self, line: Mapping[str, Any], totals: Totals) -> None:
        shown = {"problem_id": line["problem_id"], **figures(line, totals)}
        with os.fdopen(open_to_append(self._path), "ab") as file:
            file.write(json.dumps(shown, allow_nan=False).encode() + b"\n")

    def finish(self, summary: Mapping[str, Any]) -> None:
        pass


def _written(path: Path) -> set[str]:
    """Return the problems with a line in ``metrics.jsonl``; one that ended in an error gets another line."""
    written = set[str]()
    for _, shown in read_lines(path):
        if isinstance(shown, dict) and not shown.get("problem/error", True):
            written.add(str(shown.get("problem_id")))
    return written
