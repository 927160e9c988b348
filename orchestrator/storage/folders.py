"""Folders in the home directory, with names that any file system accepts, or of one process alone."""

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

# File systems accept 255 bytes; some encrypted ones 143.
_MOST_BYTES = 140
# What some file system refuses, or reads as more than a name.
_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]+|[. ]+$|^[. ]+')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def in_home(path: str) -> str:
    """Expand ``~``, which not every shell does after ``=``; a path that exists as it is written stays."""
    return path if os.path.exists(path) else os.path.expanduser(path)


def safe_names(names: Sequence[str], kept: Collection[str] = ()) -> list[str]:
    """Return a name for each of ``names`` that every file system accepts; those in ``kept`` stay as they are.

    Names that are too long, hold what some file system refuses, or differ in case alone get a digest of
    the whole name. Equal names stay equal.
    """
    cases = Counter(name.casefold() for name in set(names))
    return [name if name in kept else _safe(name, is_alone=cases[name.casefold()] == 1) for name in names]


def _safe(name: str, *, is_alone: bool) -> str:
    plain = _UNSAFE.sub("-", name.encode(errors="replace").decode())  # without half a surrogate pair
    is_good = plain == name and len(name.encode()) <= _MOST_BYTES
    if is_good and is_alone and not _RESERVED.fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(errors="backslashreplace"), digest_size=8).hexdigest()
    short = plain.encode()[: _MOST_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{short}-{digest}"


class FreeFolders:
    """New folders, so that no two processes have the same; one for each parent.

    ``release`` removes those that nothing was written to.
    """

    def __init__(self) -> None:
        self._made: dict[Path, Path] = {}

    def claim(self, requested: str) -> str:
        """Create ``requested`` or, where it is taken, one with ``_2``, ``_3``, ...; once for each parent.

        Raises ConfigError where no folder can be created.
        """
        path = Path(requested)
        if path.parent not in self._made:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made[path.parent] = _make_first(path)
            except OSError as failure:
                raise ConfigError("run_dir", requested, f"cannot be made: {failure.strerror}") from failure
        return str(self._made[path.parent])

    def release(self) -> None:
        for folder in self._made.values():
            with suppress(OSError):  # it is not empty, or was moved
                folder.rmdir()
        self._made.clear()


def _make_first(path: Path) -> Path:
    """Create the first of ``path``, ``path_2``, ... that does not exist yet."""
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}_{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("there is always a next number")
