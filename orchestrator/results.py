"""The files of a run directory: results.jsonl, summary.json, config.json and command.json."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.controller import Candidate, ProblemResult
from orchestrator.silence import SILENCE, Lengths, Silence
from orchestrator.statistics import wilson_interval
from orchestrator.syncing import GroupCommit, sync_file, sync_folder
from orchestrator.types import Denoising, NodeRecord, Overhead, StepRecord, Usage

log = logging.getLogger(__name__)

RESULTS, SUMMARY, CONFIG, COMMAND = "results.jsonl", "summary.json", "config.json", "command.json"


def finite(number: float) -> float | None:
    """JSON has no infinity and no NaN: None stands for them."""
    return number if math.isfinite(number) else None


def exact(number: float) -> float | str:
    """A number that ``float()`` reads back as it was: infinities are strings in JSON."""
    return number if math.isfinite(number) else str(number)


def candidate_line(candidate: Candidate, cut_off: str | None = None) -> dict[str, Any]:
    """One entry of ``candidates``; ``cut_off`` is the key of what has cut it off."""
    trajectory = candidate.trajectory
    reward, logprobs = trajectory.reward, [s.logprob for s in trajectory.steps if s.logprob is not None]
    return {
        "answer": candidate.answer,
        "text": trajectory.text,
        "reward": None if reward is None else reward.value,
        "log_weight": finite(candidate.log_weight),
        "num_tokens": trajectory.num_tokens,
        "correct": candidate.correct,
        "finished": trajectory.finished,
        "cut_off": cut_off,
        "logprob": finite(math.fsum(logprobs)) if len(logprobs) == len(trajectory.steps) else None,
        "step_lengths": [len(s.text) for s in trajectory.steps],
        "step_log_odds": [None if s.reward is None else exact(s.reward.log_odds) for s in trajectory.steps],
        **schedule_entries(candidate),
    }


def schedule_entries(candidate: Candidate) -> dict[str, Any]:
    """What the line of a denoised candidate holds beside: its block length, and its NLL.

    The NLL is the sum of -log p of the candidate's tokens, up to the end of the text and that included, each
    at the denoising pass that committed it.
    """
    params, logprobs = candidate.params, [s.logprob for s in candidate.trajectory.steps]
    if not isinstance(params, Denoising):
        return {}
    known = [x for x in logprobs if x is not None]
    return {
        "block_length": params.block_length or params.gen_length,
        "nll": finite(-math.fsum(known)) if len(known) == len(logprobs) else None,
    }


def record_line(record: StepRecord | NodeRecord) -> dict[str, Any]:
    """One entry of ``history``; weights are for drawings, so six digits are enough."""
    values = {name: getattr(record, name) for name in _RECORD_NAMES[type(record)]}
    line = {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}
    if isinstance(record, StepRecord):
        line["weights"] = [float(f"{w:.6g}") for w in record.weights]
    return line


_RECORD_NAMES = {kind: tuple(f.name for f in fields(kind)) for kind in (StepRecord, NodeRecord)}


def result_line(result: ProblemResult, overhead: Overhead, lengths: Lengths = Lengths()) -> dict[str, Any]:
    """One line of results.jsonl."""
    problem, error = result.problem, result.error
    history = result.solution.history if result.solution else ()
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "reference": problem.answer,
        "answer": result.answer,
        "correct": result.correct,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "stopped_by": result.stopped_by,
        "candidates": [
            candidate_line(c, lengths.cut_off_by(c.trajectory, result.stopped_by)) for c in result.candidates
        ],
        "usage": asdict(result.usage),
        "overhead": asdict(overhead),
        "seconds": round(result.seconds, 6),
        "history": [record_line(record) for record in history],
        "answer_index": result.solution.answer_index if result.solution else None,
    }


def write_atomically(path: Path, text: str) -> None:
    """Replace a file: a reader sees the old text or the new one, whatever happens. Raises OSError."""
    _replace(path, [_bytes_of(text)])


def _replace(path: Path, lines: Iterable[bytes]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as failure:
        temporary.unlink(missing_ok=True)
        if isinstance(failure, OSError):
            raise _about(path, failure) from failure
        raise


def _about(path: Path, failure: OSError) -> OSError:
    """The same failure with the name of the file, which a failed write does not know."""
    return OSError(failure.errno, failure.strerror, str(path)) if failure.errno else failure


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Strict JSON, written atomically."""
    _replace(path, [_encoded(value, indent=2)])


def _read(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Every line as it stands, and what it says: None where it was cut short, or is no JSON."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line, json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                log.warning("%s: line %d is no JSON: it is left out", path, number)
                yield line, None


def stream_results(run_dir: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of results.jsonl, one by one; a last line that was cut short is left out."""
    yield from (value for _, value in _read(run_dir / RESULTS) if value is not None)


def read_results(run_dir: Path) -> list[dict[str, Any]]:
    """The whole lines of results.jsonl, all at once."""
    return list(stream_results(run_dir))


def keep_finished(run_dir: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    """Tells the line of every problem that ended without an error; no other is left in results.jsonl.

    What was told is on disk when this returns, whoever wrote it. A last line that was cut short is cut off
    where it stands: only where others go a second file is written. Raises OSError with the file's name.
    """
    path = run_dir / RESULTS
    size, torn, num_dropped = 0, False, 0
    for line, value in _read(path):
        if not line.endswith(b"\n"):
            torn = True
            break
        size += len(line)
        if value is not None and value["error"] is None:
            tell(value)
        else:
            num_dropped += 1
    try:
        if num_dropped:
            kept = (line for line, value in _read(path) if value is not None and value["error"] is None)
            _replace(path, kept)
        elif path.exists():
            if torn:
                os.truncate(path, size)
            sync_file(path)
    except OSError as failure:
        raise _about(path, failure) from failure


def finished_summary(run_dir: Path, totals: Totals) -> dict[str, Any] | None:
    """summary.json, if it is of a run that went to its end with just these results."""
    try:
        summary: dict[str, Any] = json.loads((run_dir / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    expected = json.loads(_encoded(totals.summary()))
    # A summary of an older release says nothing of what was not answered.
    expected = {name: value for name, value in expected.items() if name in summary or name not in SILENCE}
    return summary if summary.get("complete") and expected.items() <= summary.items() else None


class ResultLog:
    """Appends one line a finished problem, written at once and fsynced at once. It keeps none of them."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / RESULTS
        self._file: BinaryIO | None = None
        self._commits: GroupCommit | None = None

    def append(self, line: Mapping[str, Any], then: Callable[[], None] | None = None) -> None:
        """A line is whole in the file when this returns, or it is not there. Raises OSError.

        It outlives this process, however sudden its death. Without ``then`` it is also on disk, and outlives
        the machine; with it the disk is waited for beside the event loop, and ``then`` is called after that.
        """
        file = self._open()
        commits = self._commits = self._commits or GroupCommit(file.fileno())
        data = _encoded(line)
        start = os.fstat(file.fileno()).st_size  # a failed write leaves the position past the end
        try:
            commits.check()
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if then is None:
                os.fsync(file.fileno())
            else:
                commits.add(then)
        except OSError as failure:
            file.truncate(start)
            raise self._about(failure) from None

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
            sync_folder(self._path.parent)
        return self._file

    def sync(self) -> None:
        """Waits until every line is on disk and what was to follow has been called. Raises OSError."""
        if self._commits is not None:
            try:
                self._commits.finish()
            except OSError as failure:
                raise self._about(failure) from None

    def _about(self, failure: OSError) -> OSError:
        """With this file's name, unless it was another that failed."""
        return failure if failure.filename else _about(self._path, failure)

    def close(self) -> None:
        """Syncs what it can, and closes. A failure is for ``sync`` to tell: nothing is called after it."""
        with suppress(Exception):
            self.sync()
        if self._commits is not None:
            self._commits.close()
        if self._file is not None:
            self._file.close()
        self._commits = self._file = None


def _encoded(value: Mapping[str, Any], indent: int | None = None) -> bytes:
    """Strict JSON with an end of line."""
    return _bytes_of(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n")


def _bytes_of(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which has no bytes there, as JSON escapes it."""
    return text.encode(errors="backslashreplace")


class Totals:
    """The figures of a run so far, added up from result lines."""

    def __init__(self) -> None:
        self.num_problems = self.num_correct = self.num_errors = self.num_passed = 0
        self.usage = Usage()
        self.overhead = Overhead()
        self.silence = Silence()
        self._paths, self._right_paths = Counter[int](), Counter[int]()

    def add(self, line: Mapping[str, Any]) -> None:
        self.num_problems += 1
        self.num_correct += bool(line["correct"])
        self.num_errors += line["error"] is not None
        self.num_passed += any(c["correct"] for c in line["candidates"])
        self.usage += Usage(**line["usage"])
        self.overhead += Overhead(**line["overhead"])
        self.silence.add(line)
        for candidate in line["candidates"]:
            if "block_length" in candidate:
                self._paths[candidate["block_length"]] += 1
                self._right_paths[candidate["block_length"]] += bool(candidate["correct"])

    @property
    def schedules(self) -> dict[str, dict[str, Any]]:
        """How often a single denoised path was right, by its block length."""
        return {
            str(block): {"num_paths": num, "accuracy": self._right_paths[block] / num}
            for block, num in sorted(self._paths.items())
        }

    @property
    def accuracy(self) -> float | None:
        return self.num_correct / self.num_problems if self.num_problems else None

    @property
    def pass_at_budget(self) -> float | None:
        """The share of problems with a right answer among their candidates."""
        return self.num_passed / self.num_problems if self.num_problems else None

    @property
    def accuracy_ci95(self) -> tuple[float, float]:
        return wilson_interval(self.num_correct, self.num_problems)

    def summary(self) -> dict[str, Any]:
        """The part of summary.json that comes from results."""
        return {
            "num_problems": self.num_problems,
            "num_correct": self.num_correct,
            "num_errors": self.num_errors,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "pass_at_budget": self.pass_at_budget,
            **self.silence.summary(),
            "usage": asdict(self.usage),
            "overhead": asdict(self.overhead),
            **({"schedules": self.schedules} if self._paths else {}),
        }
