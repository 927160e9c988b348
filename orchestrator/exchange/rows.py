"""Rows of other tools' files: bounded strict JSON, with one line for each mistake."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.storage.json_reading import NOT_OURS, BadJson, parsed, read_lines
from orchestrator.tasks.ids import first_twice, readable_ids

KEY = "FILE"
MAX_TOKENS = 2**24
QUESTIONS = ("problem", "question", "prompt", "input", "query")
REFERENCES = ("answer", "expected_answer", "reference", "target", "solution")
IDS = ("problem_id", "unique_id", "id", "uuid")
_NAMED = ("id", "question", "reference")  # keys that name a field
T = TypeVar("T")
_Line = tuple[bytes, dict[str, Any] | BadJson]


@dataclass(frozen=True, slots=True)
class Options:
    """How a file is read or written.

    ``id``, ``question`` and ``reference`` name fields, where they are not the usual ones; ``filter`` is the
    filter of lm-evaluation-harness or the scorer of inspect_ai whose answers count; ``delimiter`` ends a
    step. ``labels``, ``threshold`` and ``pairs`` are of TRL's formats.
    """

    id: str = ""
    question: str = ""
    reference: str = ""
    filter: str = ""
    delimiter: str = ""
    labels: str = "rewards"
    threshold: float | None = None
    pairs: str = "steps"

    @property
    def ends_step(self) -> str:
        return self.delimiter or "\n\n"


@dataclass(frozen=True, slots=True)
class Row:
    """An object of a file, and where it is."""

    fields: Mapping[str, Any]
    path: Path
    place: str

    def mistake(self, allowed: str) -> ConfigError:
        return ConfigError(KEY, self.path, f"{self.place}: {allowed}")

    def shaped(self, shape: type[T]) -> T:
        """Return the fields as a struct. Raises ConfigError that names the field."""
        return shaped(self.fields, shape, self)

    def text(self, chosen: str, usual: Sequence[str], what: str) -> str:
        """Return the text of the first of these fields that is there; numbers become text."""
        name = next((n for n in ((chosen,) if chosen else usual) if self.fields.get(n) is not None), None)
        if name is None:
            known = chosen or ", ".join(usual)
            hint = f"; name its field: {what}=FIELD" if what in _NAMED else ""
            raise self.mistake(f"has no {what} ({known}){hint}")
        return self.as_text(self.fields[name], name)

    def optional_text(self, chosen: str, usual: Sequence[str], what: str) -> str | None:
        """Return the same, or None where no usual field is there."""
        is_there = bool(chosen) or any(self.fields.get(n) is not None for n in usual)
        return self.text(chosen, usual, what) if is_there else None

    def num_tokens(self, value: int, name: str) -> int:
        """Return a number of tokens. Raises ConfigError for one that no text has."""
        if not 0 <= value <= MAX_TOKENS:
            raise self.mistake(f"{name} is {value}; a text has 0 to {MAX_TOKENS:,} tokens")
        return value

    def as_text(self, value: object, name: str) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.mistake(f"{name} must be a text")
        return str(value)


def shaped(value: Any, shape: type[T], row: Row) -> T:
    """Return a value as a struct. Raises ConfigError that names the field."""
    try:
        return msgspec.convert(value, shape)
    except ValueError as failure:
        reason = str(failure) if isinstance(failure, msgspec.ValidationError) else type(failure).__name__
        raise row.mistake(reason) from None


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the objects of a file with one JSON object a line. Raises ConfigError for anything else."""
    if not path.is_file():
        raise ConfigError(KEY, path, "is no file")
    num = 0
    for number, (line, value) in enumerate(_unmarked(read_lines(path)), 1):
        if isinstance(value, BadJson) and value.kind == NOT_OURS:  # a line too long comes as a blank one
            raise ConfigError(KEY, path, f"line {number}: {value.detail}")
        if not line.strip():
            continue
        num += 1
        if isinstance(value, BadJson):
            raise ConfigError(KEY, path, f"line {number} {value}")
        yield Row(value, path, f"line {number}")
    if num == 0:
        raise ConfigError(KEY, path, "is empty")


def _unmarked(lines: Iterator[_Line]) -> Iterator[_Line]:
    """Yield the lines; the mark that Windows puts before UTF-8 is no part of the first one."""
    for line, value in islice(lines, 1):
        begun = line.removeprefix(BOM_UTF8)
        yield begun, value if begun == line else parsed(begun)
    yield from lines


def rows_of_values(values: Iterable[tuple[str, Any]], path: Path) -> Iterator[Row]:
    """Yield rows of values and where they are. Raises ConfigError for one that is no object."""
    for place, value in values:
        if not isinstance(value, Mapping):
            raise ConfigError(KEY, path, f"{place} must be an object")
        yield Row(value, path, place)


def ids_of(rows: Iterable[tuple[Row, str | None]]) -> list[str]:
    """Return an id for each row: readable, and distinct. Raises ConfigError where two have the same.

    Rows without one have their index, from 0.
    """
    found = list(rows)
    own = [str(index) if own_id is None else own_id for index, (_, own_id) in enumerate(found)]
    if (twice := first_twice(own)) is not None:
        first, second = (found[index][0] for index in twice)
        raise second.mistake(f"has the same id as {first.place}, {own[twice[0]]!r}; id=FIELD names another")
    return readable_ids(own)
