"""Rows as JSON: a list of objects, or one object a line, as any editor may save them."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_OTHER_ENCODINGS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}


@dataclass(frozen=True, slots=True, eq=False)
class Row(Mapping[str, Any]):
    """The fields of a row, as a mapping; ``place`` is where it is, for a person."""

    fields: Mapping[str, Any]
    place: str

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)


def read_json(data: bytes, name: str) -> list[Row]:
    """Read the rows of a file. Rows are counted from 0, as in ids; lines from 1, blank ones included.

    The content decides, not the name: a list, or lines. Raises ValueError that says where the mistake is.
    """
    _check_encoding(data, name)
    # In JSON's texts an end of line is written \n or \r: outside of them all three mean the same.
    data = data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = [_decoded(line, f"{name}, line {number}") for number, line in enumerate(data.split(b"\n"), 1)]
    first = next((line.strip() for line in lines if line.strip()), "")
    if not first.startswith("[") and (not name.lower().endswith(".json") or _is_object(first)):
        return list(_of_lines(lines, name))
    rows = _parsed("\n".join(lines), name)
    if not isinstance(rows, list):
        raise ValueError(f"{name} must hold objects, one a row: a list of them, or one a line")
    return [_row(row, f"row {index} of {name}") for index, row in enumerate(rows)]


def _check_encoding(data: bytes, name: str) -> None:
    for encoding, marks in _OTHER_ENCODINGS.items():
        if data.startswith(marks):
            raise ValueError(f"{name} is {encoding}: save it as UTF-8")
    if b"\0" in data:
        line = data[: data.index(b"\0")].count(b"\n") + 1
        raise ValueError(f"{name}, line {line} holds a NUL byte: the file is damaged, or no UTF-8")


def _decoded(line: bytes, place: str) -> str:
    try:
        # Files that were joined have the byte order mark of the second one in the middle.
        return line.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as failure:
        byte = line[failure.start]
        raise ValueError(f"{place} is no UTF-8: byte 0x{byte:02x} at {failure.start + 1}") from None


def _is_object(line: str) -> bool:
    """Return whether a line is a whole object; the first of a list, or of one large object, is not."""
    try:
        return line != "{}" and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _of_lines(lines: list[str], name: str) -> Iterator[Row]:
    index = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            place = f"line {number} of {name}"
            yield _row(_parsed(line, place), f"row {index} ({place})", place)
            index += 1


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_fields)
    except json.JSONDecodeError as failure:
        line = "" if text.count("\n") == 0 else f"line {failure.lineno}, "
        raise ValueError(f"{place} is no JSON: {failure.msg} ({line}column {failure.colno})") from None
    except RecursionError:
        raise ValueError(f"{place} is no row: it is nested too deeply") from None
    except ValueError as failure:  # a key that occurs twice, a number of thousands of digits
        raise ValueError(f"{place}: {failure}") from None


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return fields


def _row(value: Any, place: str, line: str | None = None) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"{line or place} must hold objects, one a row, and holds {kind_of(value)}")
    return Row(value, place)


def kind_of(value: object) -> str:
    """Return what a value is, in the words of JSON."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case str():
            return "a text"
        case int() | float():
            return f"the number {value}"
    return f"a {type(value).__name__}"
