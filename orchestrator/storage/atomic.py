"""Files that are replaced whole, and syncs: what is on disk once a call returns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.storage.plain_files import replace_file


def write_atomically(path: Path, text: str) -> None:
    """Replace a file: a reader sees the old text or the new one, whatever happens. Raises OSError."""
    write_lines(path, [_bytes_of(text)])


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write strict JSON, atomically. Raises OSError with the file's name."""
    write_lines(path, [json_bytes(value)])


def write_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file by these lines, atomically. Raises OSError with the file's name."""
    try:
        replace_file(path, lines)
        sync_folder(path.parent)
    except OSError as failure:
        raise with_name(failure, path) from failure


def with_name(failure: OSError, path: Path) -> OSError:
    """Return the same failure with the name of the file, which a failed write does not know."""
    return OSError(failure.errno, failure.strerror, str(path)) if failure.errno else failure


def json_bytes(value: Mapping[str, Any], indent: int | None = 2) -> bytes:
    """Return strict JSON with an end of line, as ``write_json`` writes it; one line without ``indent``."""
    return _bytes_of(json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n")


def _bytes_of(text: str) -> bytes:
    """Return UTF-8; half a surrogate pair, which has no bytes there, is escaped as in JSON."""
    return text.encode(errors="backslashreplace")


def sync_file(path: Path) -> None:
    """Wait until everything written to the file, by any process, is on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the names of new and renamed files are on disk, where the file system supports that."""
    with suppress(OSError):
        sync_file(path)
