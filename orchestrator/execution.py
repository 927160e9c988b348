"""One run from validated parts: solve the problems, write every file, survive an interruption."""

from __future__ import annotations

import asyncio
import itertools
import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from orchestrator import milestones
from orchestrator.collecting import rare_collections
from orchestrator.config import Range
from orchestrator.controller import Controller, ProblemResult
from orchestrator.errors import JournalError
from orchestrator.journal import JOURNAL
from orchestrator.oracle import oracle_mark
from orchestrator.progress import Live, ProgressDisplay, summary_table
from orchestrator.protocols import Tracker
from orchestrator.results import SUMMARY, ResultLog, Totals, result_line, write_json
from orchestrator.rundir import Earlier
from orchestrator.silence import Lengths, advice
from orchestrator.stopping import stopped_by_signals
from orchestrator.types import Overhead, Problem


class Status(IntEnum):
    """Exit statuses."""

    FINISHED = 0
    SOME_ERRORS = 1
    BAD_CONFIGURATION = 2
    INTERRUPTED = 130
    TERMINATED = 143


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """What SIGTERM does while nothing is being solved: leave, with the status that says so."""
    raise SystemExit(Status.TERMINATED)


_UNSOLVING = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
BY_SIGNAL = {signal.SIGINT: Status.INTERRUPTED, signal.SIGTERM: Status.TERMINATED}


@dataclass
class Run:
    """A run that is ready to go: its parts are validated and its models are loaded.

    ``labels`` are the entries of summary.json that the configuration fixes; ``earlier`` is what an earlier
    part of the same run has finished; ``overhead`` tells what a problem's retries have cost, and ``figures``
    what else to put into summary.json when the run is over. ``num_replicas`` and ``num_tokens`` are for the
    progress display: replicas alive, and tokens generated since the run began. ``grace_s`` is how long calls
    in flight may take to come back after a signal. ``lengths`` are what bounds an answer. ``caught`` holds
    the signals that came while it was solving: a run whose last problems ended all the same is finished, and
    nothing else is to follow it.
    """

    run_dir: Path
    controller: Controller
    range: Range
    num_problems: int
    labels: Mapping[str, Any]
    earlier: Earlier
    tracker: Tracker
    overhead: Callable[[str], Overhead]
    console: Console
    figures: Callable[[], Mapping[str, Any]] = dict
    num_replicas: Callable[[], int] | None = None
    num_tokens: Callable[[], int] | None = None
    grace_s: float = 0.0
    lengths: Lengths = Lengths()
    caught: Sequence[signal.Signals] = ()

    def execute(self, config: Mapping[str, Any], runner: asyncio.Runner) -> Status:
        """Solve what is left, write summary.json whatever happens, and print the table."""
        totals, journals = self.earlier.totals, self.controller.journals
        begun, earlier_seconds = time.monotonic(), self._earlier_seconds()
        if journals is not None:
            journals.forget(self.earlier.problem_ids)
        self.tracker.start(self.run_dir, config, totals)
        goes_on = totals.num_problems > 0 or (self.run_dir / JOURNAL).exists()
        milestones.run_begins(self.labels, self.num_problems, totals.num_problems, goes_on=goes_on)
        results = ResultLog(self.run_dir)
        complete, interrupted = False, None
        try:
            with rare_collections():
                interrupted = runner.run(self._solve(results, totals))
            results.sync()
            complete = interrupted is None
        finally:
            results.close()
            if journals is not None:
                journals.close()
            summary = self._summary(totals, complete, earlier_seconds + time.monotonic() - begun)
            error = sys.exception()
            try:
                write_json(self.run_dir / SUMMARY, summary)
            except OSError:
                if error is None:  # a full disk stopped the run already, and that is what to tell
                    raise
            finally:
                self.tracker.finish(summary)
                milestones.run_ends(summary, error)
        self.console.print(summary_table(summary))
        if interrupted is not None:
            again = shlex.quote(f"resume={self.run_dir}")
            self.console.print(
                f"interrupted; go on with: python run.py {again}", soft_wrap=True, markup=False
            )
            return interrupted
        self.console.print(f"results: {self.run_dir}", soft_wrap=True, markup=False)
        return Status.SOME_ERRORS if totals.num_errors else Status.FINISHED

    async def _solve(self, results: ResultLog, totals: Totals) -> Status | None:
        """The status of the signal that cut the run off, or None when it went to its end."""
        live = Live(self.num_replicas, self.num_tokens)
        with ProgressDisplay(self.console, self.num_problems, totals, live) as display:

            def on_result(result: ProblemResult) -> None:
                line = result_line(result, self.overhead(result.problem.id), self.lengths)
                line |= oracle_mark(self.labels)
                results.append(line, then=partial(self._settle, result))
                milestones.problem_ends(line)
                totals.add(line)
                self.tracker.problem(line)
                display.update()

            work = asyncio.ensure_future(self.controller.run(self._problems(), on_result))
            with stopped_by_signals(work, self.controller.gate, self.grace_s, _UNSOLVING) as self.caught:
                try:
                    await work
                except asyncio.CancelledError:
                    if not self.caught:
                        raise
        return BY_SIGNAL[self.caught[0]] if self.caught and work.cancelled() else None

    def _settle(self, result: ProblemResult) -> None:
        """What becomes of a problem's journal now that its result is on disk.

        After an error it stays: what was answered is not asked again when the problem is tried again.
        """
        journals, problem_id = self.controller.journals, result.problem.id
        if journals is None:
            return
        if result.error is None:
            journals.done(problem_id)
        elif isinstance(result.error, JournalError):
            journals.discard(problem_id)
        else:
            journals.rest(problem_id)

    def _problems(self) -> Iterator[Problem]:
        """The problems of the range that no line of an earlier part has."""
        done = self.earlier.problem_ids
        problems = self.controller.task.problems(self.range.offset, self.range.limit)
        return itertools.filterfalse(lambda p: p.id in done, problems)

    def _earlier_seconds(self) -> float:
        """The wall time of the earlier parts of a run that goes on, as far as it is known."""
        path = self.run_dir / SUMMARY
        return float(json.loads(path.read_text())["wall_seconds"]) if path.exists() else 0.0

    def _summary(self, totals: Totals, complete: bool, wall_seconds: float) -> dict[str, Any]:
        return {
            **self.labels,
            "complete": complete,
            **(figures := totals.summary()),
            **({"advice": told} if (told := advice(figures, self.lengths)) else {}),
            "wall_seconds": round(wall_seconds, 3),
            **self.figures(),
        }
