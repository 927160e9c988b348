"""Checks whether a folder or a file is still where it was opened: it may be deleted or moved during a run."""

from __future__ import annotations

import errno
import os
from pathlib import Path


class DisplacedError(OSError):
    """What a run writes to is no longer where it was; the message is complete, for a person."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.ENOENT, text)

    def __str__(self) -> str:
        return str(self.strerror)


class HeldFolder:
    """A folder that is held open, so that another one in its place is noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def check(self) -> None:
        """Raise DisplacedError where its path leads to something else, or to nothing."""
        if self._descriptor is not None:
            check_place(self.path, self._descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def check_place(path: Path, descriptor: int) -> None:
    """Raise DisplacedError where ``path`` no longer leads to what is open."""
    held = os.fstat(descriptor)
    try:
        there = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        there = None
    if there is None or (there.st_dev, there.st_ino) != (held.st_dev, held.st_ino):
        raise DisplacedError(f"{path} {_fate(path, descriptor)}")


def _fate(path: Path, descriptor: int) -> str:
    """Return what happened to a file, as far as the system knows."""
    try:
        now = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return "was deleted, moved or replaced while the run was at work: look for its results elsewhere"
    if now.endswith(" (deleted)") or not os.fstat(descriptor).st_nlink:
        return "was deleted while the run was at work: the results in it are gone"
    if Path(now) != Path(os.path.realpath(path.parent)) / path.name:
        return f"was moved while the run was at work: what was finished is in {now}"
    return "is covered by another file system, or not mounted any more: what was finished is below that"


def stopped(failure: OSError, folder: Path) -> str:
    """Return why a run cannot continue, and where its results are: a line for a person."""
    return (
        str(failure)
        if isinstance(failure, DisplacedError)
        else f"{failure}; what was finished is in {folder}"
    )
