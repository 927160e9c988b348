"""Many files that are appended to at once, whole pieces at a time."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

# A system lets a process have 1,024 as a rule, and others need some.
_MAX_OPEN = 256


class OpenFiles:
    """Files that are being appended to, the least recently used closed when there are too many."""

    def __init__(self, most: int = _MAX_OPEN) -> None:
        self._most = most
        self._files: OrderedDict[Path, int] = OrderedDict()

    def append(self, path: Path, data: bytes) -> None:
        """All of ``data`` is in the file when this returns, or nothing. Raises OSError with its name."""
        descriptor = self._open(path)
        size = os.fstat(descriptor).st_size
        try:
            num_written = os.write(descriptor, data)
            while num_written < len(data):  # a full disk takes a part first, and says so at the next write
                num_written += os.write(descriptor, data[num_written:])
        except OSError as failure:
            os.ftruncate(descriptor, size)
            raise OSError(failure.errno, failure.strerror, str(path)) from failure

    def _open(self, path: Path) -> int:
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        while len(self._files) >= self._most:
            os.close(self._files.popitem(last=False)[1])
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        try:
            self._files[path] = os.open(path, flags, 0o644)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[path] = os.open(path, flags, 0o644)
        return self._files[path]

    def close(self, path: Path) -> None:
        if path in self._files:
            os.close(self._files.pop(path))

    def close_all(self) -> None:
        for path in list(self._files):
            self.close(path)
