"""Files of a run directory are plain files: a link, a FIFO or a device in the place of one is refused.

A run directory may come from another user. Through a link in it a report would overwrite, or a resumed run
append to, any file that it points at; reading a FIFO would wait forever. The directory itself may be a link:
the user names it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import ConfigError

_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | getattr(os, "O_NOCTTY", 0)
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_file(path: Path, *, is_changed_in_place: bool = False) -> None:
    """Raise ConfigError where the path is anything but a plain file; a missing file is fine.

    A file that is appended to or truncated must have one name only: with a second one (a hard link) the file
    of another folder, such as a backup, would change too.
    """
    found = _status(path)
    if found is None:
        return
    if not stat.S_ISREG(found.st_mode):
        raise _refusal(path, _KINDS.get(stat.S_IFMT(found.st_mode), "no file"), "a plain file")
    if is_changed_in_place and found.st_nlink > 1:
        allowed = f"has {found.st_nlink} names (hard links), and all would change: copy it to a new file"
        raise ConfigError("file", path, allowed)


def check_folder(path: Path, *, is_changed_in_place: bool = False) -> None:
    """Raise ConfigError where the path is anything but a folder of plain files; a missing one is fine."""
    if not _is_folder(path):
        return
    for entry in path.iterdir():
        check_file(entry, is_changed_in_place=is_changed_in_place)


def check_tree(path: Path, own_links: Sequence[str] = ()) -> None:
    """Raise ConfigError where a folder is a link, or holds one that leads out of it; a missing one is fine.

    Links of the names ``own_links`` may lead anywhere: their writer creates them again, and does not write
    through them.
    """
    if not _is_folder(path):
        return
    root = path.resolve()
    for parent, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(parent, name)
            if name not in own_links and entry.is_symlink() and not entry.resolve().is_relative_to(root):
                raise _refusal(entry, "a link that leads out of its folder", "a plain file")


def check_below(folder: Path, below: str) -> None:
    """Raise ConfigError where a part of the path ``below`` a folder is a link, or leads out of the folder."""
    place = folder
    for part in Path(below).parts:
        place = place / part
        if part == ".." or place.is_symlink():
            raise _refusal(place, "a link" if place.is_symlink() else "outside", f"a folder in {folder}")


def open_to_read(path: Path) -> BinaryIO:
    """Open a plain file for reading. Raises ConfigError where it is not a plain file, and OSError."""
    descriptor = _open(path, os.O_RDONLY)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _refusal(path, _KINDS.get(stat.S_IFMT(mode), "no file"), "a plain file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_to_append(path: Path) -> int:
    """Open a plain file for appending, or create it; return its descriptor. Raises ConfigError, OSError."""
    descriptor = _open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise _refusal(path, "no file", "a plain file")


def new_file_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Create an empty file in the same folder: never an existing one, nor what a link points at."""
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
    )
    return temporary, os.fdopen(descriptor, "wb")


def replace_file(path: Path, pieces: Iterable[bytes]) -> None:
    """Replace a file: a reader sees all of the old or all of the new one. Raises ConfigError, or OSError."""
    check_file(path)
    temporary, file = new_file_beside(path)
    try:
        with file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_folder(path: Path) -> bool:
    found = _status(path)
    if found is None:
        return False
    if not stat.S_ISDIR(found.st_mode):
        kind = (
            "a file" if stat.S_ISREG(found.st_mode) else _KINDS.get(stat.S_IFMT(found.st_mode), "no folder")
        )
        raise _refusal(path, kind, "a folder")
    return True


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | _SAFE, 0o644)
    except OSError as failure:
        if failure.errno == errno.ELOOP:
            raise _refusal(path, "a link", "a plain file") from None
        if failure.errno == errno.ENXIO:  # a FIFO that no process reads, a socket
            raise _refusal(path, "a FIFO or a socket", "a plain file") from None
        raise


def _refusal(path: Path, kind: str, required: str) -> ConfigError:
    return ConfigError("file", path, f"is {kind}, and must be {required}: remove it (docs/security.md)")
