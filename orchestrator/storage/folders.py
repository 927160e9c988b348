"""Folders: below the home, with names that any file system takes, and one that no other process has."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from orchestrator.errors import ConfigError

# File systems take 255 bytes; some encrypted ones 143.
_MOST_BYTES = 140
# What some file system does not take, or reads as more than a name.
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]+|[. ]+$|^[. ]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def in_home(path: str) -> str:
    """A path below ``~``, which not every shell expands after ``=``; one that is there as it stands stays."""
    return path if os.path.exists(path) else os.path.expanduser(path)


def safe_names(names: Sequence[str], kept: Collection[str] = ()) -> list[str]:
    """A name for each of ``names`` that a file system takes; those of ``kept`` stay as they are.

    Names that are too long, hold what some file system does not take, or differ in case alone get a digest
    of the whole name. Equal names stay equal.
    """
    cases = Counter(name.casefold() for name in set(names))
    return [name if name in kept else _safe(name, is_alone=cases[name.casefold()] == 1) for name in names]


def _safe(name: str, *, is_alone: bool) -> str:
    plain = _UNSAFE.sub("-", name.encode(errors="replace").decode())  # no half of a surrogate pair
    is_good = plain == name and len(name.encode()) <= _MOST_BYTES
    if is_good and is_alone and not _RESERVED.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(errors="backslashreplace"), digest_size=8).hexdigest()
    short = plain.encode()[: _MOST_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{short}-{digest}"


class FreeFolders:
    """Makes folders that were not there, so that no two processes have the same; one for each parent.

    ``release`` takes those away again that nothing was written to.
    """

    def __init__(self) -> None:
        self._made: dict[Path, Path] = {}

    def claim(self, wanted: str) -> str:
        """``wanted`` or, where that is taken, the same with ``_2``, ``_3``, ...; once for each parent.

        Raises ConfigError where no folder can be made.
        """
        path = Path(wanted)
        if path.parent not in self._made:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made[path.parent] = _make_first(path)
            except OSError as failure:
                raise ConfigError("run_dir", wanted, f"cannot be made: {failure.strerror}") from failure
        return str(self._made[path.parent])

    def release(self) -> None:
        for folder in self._made.values():
            with suppress(OSError):  # it holds something, or somebody has moved it
                folder.rmdir()
        self._made.clear()


def _make_first(path: Path) -> Path:
    """The first of ``path``, ``path_2``, ... that is not there yet, made."""
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}_{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("there is always a next number")
