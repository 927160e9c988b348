"""One run from validated parts: solves the problems, writes every file, survives an interruption."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from orchestrator.backend import Backend, Used
from orchestrator.config.build import Range
from orchestrator.observe.progress import BackendFigures, ProgressDisplay, summary_table
from orchestrator.observe.tracking import Tracker
from orchestrator.outcome import ProblemResult
from orchestrator.recording import Recording
from orchestrator.runs.garbage import rare_collections
from orchestrator.runs.stopping import cut_when_broken, stopped_by_signals
from orchestrator.search.controller import Controller
from orchestrator.storage.results import ResultLog
from orchestrator.storage.run_directory import Earlier
from orchestrator.storage.silence import Lengths
from orchestrator.storage.standing import DisplacedError
from orchestrator.terminal import program, shell_word

_LOOK_S = 2.0


class Status(IntEnum):
    """Exit statuses."""

    FINISHED = 0
    SOME_ERRORS = 1
    BAD_CONFIGURATION = 2
    INTERRUPTED = 130
    TERMINATED = 143


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """Exit with TERMINATED: what SIGTERM and SIGHUP do while nothing is being solved."""
    raise SystemExit(Status.TERMINATED)


BY_SIGNAL = {
    signal.SIGINT: Status.INTERRUPTED,
    signal.SIGTERM: Status.TERMINATED,
    signal.SIGHUP: Status.TERMINATED,  # the terminal or its connection is closed
}
_UNSOLVING = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: terminate,
    # nohup: the process must outlive its terminal
    **({} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else {signal.SIGHUP: terminate}),
}


TERMINATING = tuple(number for number in _UNSOLVING if BY_SIGNAL[number] is Status.TERMINATED)


def heed_signals() -> None:
    """Let a signal end the process while nothing is being solved; Ray replaces these handlers by its own."""
    for number, handler in _UNSOLVING.items():
        signal.signal(number, handler)
    if not isinstance(sys.unraisablehook, _SendAgain):
        sys.unraisablehook = _SendAgain(sys.unraisablehook)


@dataclass(frozen=True)
class _SendAgain:
    """Sends a signal again if its exception was lost, as it is at a fork or in a finalizer."""

    before: Callable[[Any], object]

    def __call__(self, unraisable: Any) -> None:
        lost = unraisable.exc_value
        if isinstance(lost, SystemExit) and lost.code == Status.TERMINATED:
            number = signal.SIGTERM
        elif isinstance(lost, KeyboardInterrupt):
            number = signal.SIGINT
        else:
            self.before(unraisable)
            return
        # A moment later: an exception in this hook is lost as well.
        again = threading.Timer(0.05, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()


def ignore_signals() -> None:
    """Ignore signals: what is left to do is short, and the status is known."""
    for number in _UNSOLVING:
        signal.signal(number, signal.SIG_IGN)


async def _watched(results: ResultLog, work: asyncio.Future[None]) -> None:
    """Cancel ``work`` and raise DisplacedError as soon as the results file is gone or replaced.

    Each write of a line checks that too, but a problem may take hours.
    """
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            results.check()
        except DisplacedError:
            work.cancel()
            raise


@dataclass(frozen=True, slots=True)
class Stop:
    """Why a run has stopped before its end, without an error; it can be resumed."""

    status: Status
    reason: str


@dataclass
class Run:
    """A run with validated parts and loaded models; ``execute`` solves its problems and writes its files.

    ``num_problems`` counts those of ``range``; those that ``earlier``, an earlier part of the same run, has
    finished are not solved again. ``labels`` are the entries of summary.json that the configuration fixes.
    ``backend`` holds the replicas: summary.json has what the run has used of them. After a signal, calls in
    flight have ``grace_s`` seconds to finish. ``lengths`` bound an answer. ``caught`` holds the signals that
    arrived while the run was solving: even if its last problems finished, no other run may start after it.
    ``more`` returns further entries of summary.json.
    """

    run_dir: Path
    controller: Controller
    range: Range
    num_problems: int
    labels: Mapping[str, Any]
    earlier: Earlier
    tracker: Tracker
    backend: Backend
    console: Console
    grace_s: float = 0.0
    lengths: Lengths = Lengths()
    caught: Sequence[signal.Signals] = ()
    more: Callable[[], Mapping[str, Any]] = dict
    _used_before: Used = field(default_factory=Used, init=False)

    def execute(self, config: Mapping[str, Any], runner: asyncio.Runner) -> Status:
        """Solve the remaining problems, always write summary.json, and print the table."""
        self._used_before = self.backend.used()
        recording = Recording(
            self.run_dir,
            self.labels,
            self.earlier,
            self.controller.journals,
            self.tracker,
            self.lengths,
            more=self._more,
        )
        with recording.at_work(config, self.num_problems), rare_collections():
            stop = runner.run(self._solve(recording))
            recording.reached_end = stop is None
        return self._report(recording.summary, stop)

    def _report(self, summary: Mapping[str, Any], stop: Stop | None) -> Status:
        """Print the table, and how to resume if problems are left; return the status."""
        self.console.print(summary_table(summary))
        if not self.caught:
            heed_signals()
        if stop is not None:
            again = shell_word(f"resume={self.run_dir}")
            self.console.print(f"{stop.reason}; resume with: {program()} {again}", soft_wrap=True)
            return stop.status
        self.console.print(f"results: {self.run_dir}", soft_wrap=True)
        return Status.SOME_ERRORS if summary["num_errors"] else Status.FINISHED

    async def _solve(self, recording: Recording) -> Stop | None:
        """Return why the run stopped early, or None if it reached its end."""
        live = BackendFigures(self.backend.num_alive, lambda: self._used.generated_tokens)
        with ProgressDisplay(self.console, self.num_problems, recording.totals, live) as display:

            def on_result(result: ProblemResult) -> None:
                recording.add(result)
                display.update()

            problems = self.controller.task.problems(self.range.offset, self.range.limit)
            # Where samples are granted across problems, those that are finished bid as they did.
            left = problems if self.controller.rounds is not None else recording.left(problems)
            solving = self.controller.run(left, on_result)
            stop = await self._until_stopped(solving, recording.results)
            # A signal after the last result has nothing left to stop.
            return None if recording.totals.num_problems == self.num_problems else stop

    async def _until_stopped(self, solving: Coroutine[Any, Any, None], results: ResultLog) -> Stop | None:
        """Return why ``solving`` stopped: a signal, or the loss of every replica. Raises DisplacedError."""
        gate, work = self.controller.gate, asyncio.ensure_future(solving)
        watches = [
            asyncio.ensure_future(_watched(results, work)),
            asyncio.ensure_future(cut_when_broken(work, gate, self.grace_s)),
        ]
        afterwards = dict.fromkeys(_UNSOLVING, self._note)
        with stopped_by_signals(work, gate, self.grace_s, afterwards) as self.caught:
            try:
                await asyncio.wait([work])
                for watch in watches:
                    if watch.done():
                        watch.result()
            finally:
                for task in (work, *watches):
                    task.cancel()
        if not work.cancelled():
            work.result()
            return None
        if gate.broken is not None:
            return Stop(Status.SOME_ERRORS, f"stopped, as no replica is left: {gate.broken}")
        return Stop(BY_SIGNAL[self.caught[0]], "interrupted")

    def _note(self, number: int, _frame: FrameType | None) -> None:
        """Note a signal after the last problem: this run is finished, but no other may start."""
        self.caught = [*self.caught, signal.Signals(number)]

    @property
    def _used(self) -> Used:
        return self.backend.used() - self._used_before

    def _more(self) -> dict[str, Any]:
        """Return the entries of summary.json that only its end knows."""
        routing = {kind: counts.summary() for kind, counts in self._used.routing.items()}
        return {**({"routing": routing} if routing else {}), **self.more()}
