"""JSON from an unknown source: bounded, strict, and refused with a reason instead of a traceback."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.storage.plain_files import open_to_read

MAX_FILE_BYTES = 64 * 2**20
MAX_LINE_BYTES = 256 * 2**20
_MAX_DEPTH = 200  # so that later code may walk a value by recursion


NO_JSON, NOT_OURS = "is no JSON", "was not written by Murmuration"


class BadJson(ValueError):
    """Not strict JSON, or not of the expected form: which of the two, and why."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


def parse_object(data: bytes | str) -> dict[str, Any]:
    """Parse strict JSON that holds an object. Raises BadJson.

    Numbers that JSON does not have (NaN, Infinity, or too large for a float), nesting deeper than 200 and
    numbers of more digits than Python reads are refused. Half a surrogate pair, escaped, is text.
    """
    try:
        value = _FAST.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        value = _decoded(data)
    if not isinstance(value, dict):
        raise BadJson(NOT_OURS, f"expected an object, got {type(value).__name__}")
    if _num_brackets(data) > _MAX_DEPTH and not _is_shallow(value):
        raise BadJson(NO_JSON, "it is nested too deeply")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """Read the object of a whole file. Raises BadJson, ConfigError for a link, and OSError."""
    with open_to_read(path) as file:
        return _parse_whole(file.read(MAX_FILE_BYTES + 1))


def read_own(path: Path, key: str) -> dict[str, Any]:
    """Read the object of a file that must exist and be whole. Raises ConfigError that names it."""
    try:
        with open_to_read(path) as file:
            return parse_own(file.read(MAX_FILE_BYTES + 1), path, key)
    except OSError as failure:
        allowed = f"its {path.name} cannot be read: {failure.strerror}"
        raise ConfigError(key, path.parent, allowed) from None


def parse_own(data: bytes, path: Path, key: str) -> dict[str, Any]:
    """Parse what was read of such a file already."""
    try:
        return _parse_whole(data)
    except BadJson as failure:
        raise ConfigError(key, path.parent, f"its {path.name} {failure}") from None


def _parse_whole(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_FILE_BYTES:
        raise BadJson(NOT_OURS, f"it has more than {MAX_FILE_BYTES // 2**20} MiB")
    return parse_object(data)


def read_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | BadJson]]:
    """Yield every line as it is with its value, or why it has none; nothing where there is no file.

    A line longer than ``MAX_LINE_BYTES`` is skipped: an end of line is yielded for it.
    """
    try:
        file = open_to_read(path)
    except FileNotFoundError:
        return
    with file:
        while line := file.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                _skip_line(file)
                yield b"\n", BadJson(NOT_OURS, f"it has more than {MAX_LINE_BYTES // 2**20} MiB")
            else:
                yield line, parsed(line)


def _skip_line(file: BinaryIO) -> None:
    """Read up to the end of a line."""
    while (piece := file.readline(2**20)) and not piece.endswith(b"\n"):
        pass


def parsed(line: bytes) -> dict[str, Any] | BadJson:
    """Return the object of a line, or why it has none."""
    try:
        return parse_object(line)
    except BadJson as failure:
        return failure


def _decoded(data: bytes | str) -> Any:
    """Decode with Python's decoder, which accepts half a character, and names its mistakes."""
    try:
        return _CAREFUL.decode(data.decode() if isinstance(data, bytes) else data)
    except RecursionError:
        raise BadJson(NO_JSON, "it is nested too deeply") from None
    except UnicodeDecodeError as failure:
        raise BadJson(NO_JSON, f"it is no UTF-8: {failure.reason}") from None
    except json.JSONDecodeError as failure:
        raise BadJson(NO_JSON, str(failure)) from None
    except ValueError as failure:
        raise BadJson(NO_JSON, str(failure)) from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:30]} is too large a number")
    return number


_FAST: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_CAREFUL = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)


def _num_brackets(data: bytes | str) -> int:
    text = data if isinstance(data, bytes) else data.encode(errors="replace")
    return text.count(b"[") + text.count(b"{")


def _is_shallow(value: Any) -> bool:
    """Return whether at most ``_MAX_DEPTH`` containers are nested; level by level, without recursion."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return True
    return False
