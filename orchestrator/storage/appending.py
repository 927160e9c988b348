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

# A system lets a process have 1,024 as a rule; where it is fewer, these take a quarter: others need some.
_MAX_OPEN = 256


def end_line(path: Path) -> None:
    """Ends a line that was cut short when the machine went down, so that no other joins it."""
    check_file(path, is_changed_in_place=True)
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _limit() -> int:
    """How many files the process may have open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


class AppendedFile:
    """A file that is appended to, whole pieces at a time; no one else writes, so its size is known here."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises ConfigError where it is no plain file, or OSError."""
        self._path = str(path)
        self._descriptor = open_to_append(path)
        self._size = os.fstat(self._descriptor).st_size

    def append(self, data: bytes) -> None:
        """All of ``data`` is in the file when this returns, or nothing. Raises OSError with its name."""
        try:
            num_written = os.write(self._descriptor, data)
            while num_written < len(data):  # a full disk takes a part first, and says so at the next write
                num_written += os.write(self._descriptor, data[num_written:])
        except OSError as failure:
            with suppress(OSError):  # where not even that can be written, what failed first is to be told
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
        self._files: OrderedDict[str, AppendedFile] = OrderedDict()  # by name: a Path is dear to look up

    def append(self, path: Path, data: bytes) -> None:
        """All of ``data`` is in the file when this returns, or nothing. Raises OSError with its name."""
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
            # None above it once there was one: a run directory that was deleted is not made anew.
            path.parent.mkdir(parents=not self._was_there, exist_ok=True)
            file = self._open_for_sure(path)
        self._was_there = True
        self._files[name] = file
        return file

    def _open_for_sure(self, path: Path) -> AppendedFile:
        """Opens a file; where the process has too many, in place of others of these."""
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
