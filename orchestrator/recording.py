"""The files of a run while it is at work: results, summary and journals, with its tracker and its events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import filterfalse
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError, JournalError
from orchestrator.observe import milestones
from orchestrator.observe.tracking import NoTracker, Tracker
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Engine, Verifier
from orchestrator.storage.atomic import write_json
from orchestrator.storage.journal import JOURNAL, Journals
from orchestrator.storage.result_lines import oracle_mark, result_line
from orchestrator.storage.results import ResultLog
from orchestrator.storage.run_directory import Earlier
from orchestrator.storage.run_files import SUMMARY, sound_summary
from orchestrator.storage.samples import drop_samples
from orchestrator.storage.silence import Lengths, advice
from orchestrator.storage.totals import Totals
from orchestrator.types import Problem

# The caller has stopped the work: that is no failure of the run.
_STOPPED = (GeneratorExit, asyncio.CancelledError)


def model_labels(
    engine: Engine, verifier: Verifier | None, others: Collection[Engine] = ()
) -> dict[str, Any]:
    """Return the entries of summary.json that say what the models promise."""
    policies = all(policy.info.batch_invariant for policy in (engine, *others))
    whole = policies and (verifier is None or verifier.info.batch_invariant)
    return {"batch_invariant": whole, "sampler": engine.info.sampler}


@dataclass
class Recording:
    """What a run writes; ``add`` takes each result inside ``at_work``.

    ``labels`` are the entries of summary.json that are known before the first problem, ``more`` returns
    others at its end, and ``earlier`` is what an earlier part of the run has finished. The caller sets
    ``reached_end`` where no problem is left.
    """

    run_dir: Path
    labels: Mapping[str, Any]
    earlier: Earlier
    journals: Journals | None = None
    tracker: Tracker = field(default_factory=NoTracker)
    lengths: Lengths = Lengths()
    more: Callable[[], Mapping[str, Any]] = dict
    reached_end: bool = False
    summary: dict[str, Any] = field(default_factory=dict, init=False)
    results: ResultLog = field(init=False)

    @property
    def totals(self) -> Totals:
        return self.earlier.totals

    def left(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """Return the problems that no earlier part has finished."""
        return filterfalse(lambda problem: problem.id in self.earlier.problem_ids, problems)

    @contextmanager
    def at_work(self, config: Mapping[str, Any], num_problems: int) -> Iterator[None]:
        """Write the run's files inside the block, and its summary at the end, however that comes."""
        earlier_seconds, is_resumed = self._open_summary(), self._is_resumed
        if self.journals is not None:
            self.journals.forget(self.earlier.problem_ids)
        self.tracker.start(self.run_dir, config, self.totals)
        milestones.run_begins(self.labels, num_problems, self.totals.num_problems, is_resumed=is_resumed)
        self.results, begun = ResultLog(self.run_dir), time.monotonic()
        complete, failure = False, None
        try:
            with self._displacement_first():
                yield
                self.results.sync()
                complete = self.reached_end
                if complete and not self.totals.num_errors:
                    drop_samples(self.run_dir)
        except _STOPPED:
            raise
        except BaseException as error:
            failure = error
            raise
        finally:
            seconds = None if earlier_seconds is None else earlier_seconds + time.monotonic() - begun
            self.summary = self._summary(complete, seconds)
            self._conclude(failure)

    @contextmanager
    def _displacement_first(self) -> Iterator[None]:
        """Raise DisplacedError for an OSError of the block if the directory is gone: it says more."""
        try:
            yield
        except OSError:
            self.results.check()
            raise

    def add(self, result: ProblemResult) -> None:
        """Append a result's line; its journal is closed when the line is on disk. Raises OSError."""
        line = result_line(result, self.lengths) | oracle_mark(self.labels)
        self.results.append(line, then=partial(self._settle, result))
        milestones.problem_ends(line)
        self.totals.add(line)
        self.tracker.problem(line)

    def _settle(self, result: ProblemResult) -> None:
        """Close a problem's journal now that its result is on disk.

        After an error it is kept: recorded calls are not sent again when the problem is retried.
        """
        journals, problem_id = self.journals, result.problem.id
        if journals is None:
            return
        if result.error is None:
            journals.done(problem_id)
        elif isinstance(result.error, JournalError):
            journals.set_aside(problem_id)
        else:
            journals.pause(problem_id)

    def _conclude(self, failure: BaseException | None) -> None:
        """Write summary.json, unless another directory is in its place, and close everything."""
        is_there = self.results.is_in_its_folder
        self.results.close()
        if self.journals is not None:
            self.journals.close()
        try:
            if is_there:
                write_json(self.run_dir / SUMMARY, self.summary)
        except (OSError, ConfigError) as unwritten:
            if failure is None:  # else a full disk has stopped the run already, and is what to report
                failure = unwritten
                raise
        finally:
            self.tracker.finish(self.summary)
            milestones.run_ends(self.summary, failure)

    @property
    def _is_resumed(self) -> bool:
        """Whether an earlier part has left results or journals."""
        return self.totals.num_problems > 0 or (self.run_dir / JOURNAL).exists()

    def _open_summary(self) -> float | None:
        """Return the wall time of the earlier parts in seconds; None if unknown, as one was killed with -9.

        An existing summary is rewritten as not complete, with unknown wall time: that is true if this part
        is killed.
        """
        path = self.run_dir / SUMMARY
        earlier = sound_summary(path)
        if earlier is None:
            return None if self._is_resumed else 0.0
        seconds = earlier.get("wall_seconds")
        write_json(path, self._summary(complete=False, wall_seconds=None))
        return None if seconds is None else float(seconds)

    def _summary(self, complete: bool, wall_seconds: float | None) -> dict[str, Any]:
        return {
            **self.labels,
            "complete": complete,
            **(figures := self.totals.summary()),
            **({"advice": advised} if (advised := advice(figures, self.lengths)) else {}),
            "wall_seconds": None if wall_seconds is None else round(wall_seconds, 3),
            **self.more(),
        }
