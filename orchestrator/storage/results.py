"""results.jsonl: one line a finished problem, appended while a run is at work, and read again."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.storage.atomic import json_bytes, sync_file, sync_folder, with_name, write_lines
from orchestrator.storage.group_commit import GroupCommit
from orchestrator.storage.json_reading import NOT_OURS, BadJson, read_lines
from orchestrator.storage.line_checks import check_line
from orchestrator.storage.plain_files import open_to_append, open_to_read
from orchestrator.storage.run_files import RESULTS
from orchestrator.storage.standing import DisplacedError, HeldFolder, check_place

log = logging.getLogger(__name__)


def _read(path: Path, *, is_resumed: bool = False) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Yield every line as it is, and its value: None where it was cut short, or is not a result.

    A second line of one problem has None too; where ``is_resumed`` a line with an error does not count as the
    first. Lines that are left out are named in warnings.
    """
    left_out, problem_ids = _LeftOut(path), set[str]()
    for number, (line, value) in enumerate(read_lines(path), 1):
        # A line that was cut short is expected.
        reason = _objection(value, problem_ids) if line.endswith(b"\n") else ""
        if reason:
            left_out.add(number, reason)
        good = value if reason is None and isinstance(value, dict) else None
        if good is not None and not (is_resumed and good["error"] is not None):
            problem_ids.add(good["problem_id"])
        yield line, good
    left_out.end()


def _objection(value: dict[str, Any] | BadJson, problem_ids: Collection[str]) -> str | None:
    """Return what is wrong with a line, if anything."""
    if isinstance(value, BadJson):
        return _in_words(value)
    try:
        check_line(value)
    except BadJson as failure:
        return _in_words(failure)
    if value["problem_id"] in problem_ids:
        return f"is a second one of problem {value['problem_id']}: it is left out"
    return None


def _in_words(failure: BadJson) -> str:
    reason = f" ({failure.detail})" if failure.kind == NOT_OURS else ""
    return f"{failure.kind}: it is left out{reason}"


class _LeftOut:
    """Warnings about lines that are left out: the first few, and how many more there are."""

    MOST = 5

    def __init__(self, path: Path) -> None:
        self._path, self._num = path, 0

    def add(self, number: int, reason: str) -> None:
        self._num += 1
        if self._num <= self.MOST:
            log.warning("%s: line %d %s", self._path, number, reason)

    def end(self) -> None:
        if self._num > self.MOST:
            log.warning("%s: %d more lines are left out", self._path, self._num - self.MOST)


def stream_results(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of results.jsonl; a last line that was cut short is left out.

    Of two lines of one problem the first one counts.
    """
    yield from (value for _, value in whole_lines(run_dir / RESULTS))


def whole_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the whole lines of a file of results as they are, each with its value."""
    yield from ((line, value) for line, value in _read(path) if value is not None)


def read_results(run_dir: Path) -> list[dict[str, Any]]:
    """Return the whole lines of results.jsonl."""
    return list(stream_results(run_dir))


def keep_finished(
    run_dir: Path, on_finished: Callable[[dict[str, Any]], None], check: Callable[[], None] = lambda: None
) -> None:
    """Call ``on_finished`` for each line without an error; remove all other lines from results.jsonl.

    ``check`` is called after the last one: what it raises leaves the file as it is. Of two lines of one
    problem the first one stays. The lines that stay are on disk when this returns. A last line that was cut
    short is cut off in place; only where other lines are removed a second file is written. Raises OSError
    with the file's name.
    """
    path = run_dir / RESULTS
    size, torn, dropped = 0, False, set[int]()
    for number, (line, value) in enumerate(_read(path, is_resumed=True), 1):
        if not line.endswith(b"\n"):
            torn = True
            break
        size += len(line)
        if value is not None and value["error"] is None:
            on_finished(value)
        else:
            dropped.add(number)
    check()
    try:
        if dropped:
            _drop(path, dropped)
        elif path.exists():
            if torn:
                os.truncate(path, size)
            sync_file(path)
    except OSError as failure:
        raise with_name(failure, path) from failure


def _drop(path: Path, dropped: Collection[int]) -> None:
    """Remove lines from a file, and a last one that was cut short."""
    with open_to_read(path) as file:
        lines = (line for i, line in enumerate(file, 1) if i not in dropped and line.endswith(b"\n"))
        write_lines(path, lines)


class ResultLog:
    """results.jsonl, open for appending: one line a finished problem, written and fsynced at once.

    It notices when the file or the run directory was deleted, moved, replaced, or written to by another
    process. That is an OSError, as a full disk is.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / RESULTS
        self._folder = HeldFolder(run_dir)
        self._file: BinaryIO | None = None
        self._size = 0
        self._commits: GroupCommit | None = None

    def append(self, line: Mapping[str, Any], then: Callable[[], None] | None = None) -> None:
        """Append a whole line, or nothing. Raises OSError.

        The line outlives this process, even after kill -9. Without ``then`` it is also on disk, and outlives
        the machine; with it the sync runs in a thread, and ``then`` is called after it.
        """
        file = self._open()
        commits = self._commits = self._commits or GroupCommit(file.fileno())
        data = json_bytes(line, indent=None)
        self._check_size(file)
        try:
            commits.check()
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if then is None:
                os.fsync(file.fileno())
            else:
                commits.add(then)
        except OSError as failure:
            with suppress(OSError):  # where that fails too, the first failure is the one to report
                file.truncate(self._size)
            raise self._about(failure) from None
        self._size += len(data)
        self.check()

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = os.fdopen(open_to_append(self._path), "ab", buffering=0)
            self._size = os.fstat(self._file.fileno()).st_size
            sync_folder(self._path.parent)
        return self._file

    def check(self) -> None:
        """Raise DisplacedError where the file, or its folder, is not the one that was opened."""
        self._folder.check()
        if self._file is not None:
            check_place(self._path, self._file.fileno())
            self._check_size(self._file)

    @property
    def is_in_its_folder(self) -> bool:
        """Whether the run directory is still the one in which this was opened."""
        try:
            self._folder.check()
        except OSError:
            return False
        return True

    def _check_size(self, file: BinaryIO) -> None:
        """Raise DisplacedError where another process has changed the size: results may be gone."""
        size = os.fstat(file.fileno()).st_size
        if size != self._size:
            what = f"{self._size} bytes while the run was at work: some of its results may be gone"
            raise DisplacedError(f"{self._path} was changed by something else, to {size} bytes from {what}")

    def sync(self) -> None:
        """Wait until every line is on disk and every ``then`` has been called. Raises OSError."""
        if self._commits is not None:
            try:
                self._commits.finish()
            except OSError as failure:
                raise self._about(failure) from None
        self.check()

    def _about(self, failure: OSError) -> OSError:
        """Return the failure with this file's name, unless it names another file."""
        if failure.filename or isinstance(failure, DisplacedError):
            return failure
        return with_name(failure, self._path)

    def close(self) -> None:
        """Sync what is possible, and close. ``sync`` reports failures, this does not."""
        with suppress(Exception):
            self.sync()
        if self._commits is not None:
            self._commits.close()
        if self._file is not None:
            self._file.close()
        self._folder.close()
        self._commits = self._file = None
