"""Many files that are appended to at once, whole pieces at a time."""

from __future__ import annotations

import errno
import os
import resource
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from orchestrator.storage.plain_files import check_file, open_to_append

# Most systems allow a process 1,024 open files; where it is fewer, these take a quarter of them.
_MAX_OPEN = 256


def end_line(path: Path) -> None:
    """End a line that was cut short when the machine went down, so that the next one begins a new line."""
    check_file(path, is_changed_in_place=True)
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _limit() -> int:
    """Return how many files the process may have open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class AppendedFile:
    """A file that is appended to, whole pieces at a time; its size is known, as no other process writes."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it. Raises ConfigError where it is no plain file, or OSError."""
        self._path = str(path)
        self._descriptor = open_to_append(path)
        self._size = os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        """Append all of ``data``, or nothing. Raises OSError with the file's name."""
        try:
            num_written = os.write(self._descriptor, data)
            while num_written < len(data):  # a full disk takes a part first, and fails at the next write
                num_written += os.write(self._descriptor, data[num_written:])
        except OSError as failure:
            with suppress(OSError):  # where that fails too, the first failure is the one to report
                os.ftruncate(self._descriptor, self._size)
            raise OSError(failure.errno, failure.strerror, self._path) from failure
        self._size += len(data)

    def close(self) -> None:
        os.close(self._descriptor)


class OpenFiles:
    """Files that are being appended to, the least recently used closed when there are too many."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most or max(1, min(_MAX_OPEN, _limit() // 4))
        self._was_there = False
        self._files: OrderedDict[str, AppendedFile] = OrderedDict()  # by name: a Path is slow to look up

    def append(self, path: Path, data: bytes) -> None:
        """Append all of ``data``, or nothing. Raises OSError with the file's name."""
        self._open(path).append(data)

    def _open(self, path: Path) -> AppendedFile:
        name = str(path)
        if (file := self._files.get(name)) is not None:
            self._files.move_to_end(name)
            return file
        while len(self._files) >= self._most:
            self._files.popitem(last=False)[1].close()
        try:
            file = self._open_for_sure(path)
        except FileNotFoundError:
            # Not its parents, once there was a file: a run directory that was deleted is not created again.
            path.parent.mkdir(parents=not self._was_there, exist_ok=True)
            file = self._open_for_sure(path)
        self._was_there = True
        self._files[name] = file
        return file

    def _open_for_sure(self, path: Path) -> AppendedFile:
        """Open a file; where the process has too many open, close others of these first."""
        while True:
            try:
                return AppendedFile(path)
            except OSError as failure:
                if failure.errno != errno.EMFILE or not self._files:
                    raise
                self._files.popitem(last=False)[1].close()

    def close(self, path: Path) -> None:
        self._close(str(path))

    def _close(self, name: str) -> None:
        if name in self._files:
            self._files.pop(name).close()

    def close_all(self) -> None:
        for name in list(self._files):
            self._close(name)
