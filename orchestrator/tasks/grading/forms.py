"""The forms of an answer: a value, words, values in brackets, an equation; and which answers are the same."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Literal

from orchestrator.tasks.grading.numbers import Exact
from orchestrator.tasks.grading.tokens import Tokens

Kind = Literal["list", "set", "()", "[]", "(]", "[)", "open", "vector", "matrix", "union", "ratio"]
MAX_MATCHED = 60

# Kinds that are the same where their items are, in their order. A pair in parentheses is a point or an
# interval, which only the question shows; a list without brackets has lost those of a point or a vector.
_ORDERED = {
    frozenset(pair) for pair in (("()", "open"), ("()", "vector"), ("()", "list"), ("vector", "list"))
}
_UNORDERED = {frozenset(pair) for pair in (("list",), ("set",), ("list", "set"), ("union",))}


@dataclass(frozen=True)
class Form(ABC):
    """An answer that was read. Equal names are equal answers."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the name, which decides what the answer equals."""

    @property
    def vote_key(self) -> str:
        """Return the name without the order of unordered items. Forms with one key are the same."""
        return self.name


@dataclass(frozen=True)
class Plain(Form):
    """A text of no other form: it equals only itself."""

    text: str

    @cached_property
    def name(self) -> str:
        return f"text {self.text}"


@dataclass(frozen=True)
class Words(Form):
    """Words in one case."""

    text: str

    @cached_property
    def name(self) -> str:
        return f"words {self.text}"


@dataclass(frozen=True)
class Scalar(Form):
    """A value. ``key`` is its key where variables are positive, ``elsewhere`` where they are not.

    ``near`` is a real value itself; ``places`` of a decimal as in ``Exact``; ``letter`` of a variable alone.
    """

    key: str
    near: Fraction | None = None
    places: int | None = None
    elsewhere: str | None = None
    letter: str | None = None

    @cached_property
    def name(self) -> str:
        places = "" if self.places is None or not self._stands_for_more else f" to {self.places}"
        elsewhere = "" if self.elsewhere is None else f" and {self.elsewhere}"
        return f"{self.key}{places}{elsewhere}"

    @cached_property
    def _stands_for_more(self) -> bool:
        return self.near is not None and Exact(self.near, self.places).rounds(Fraction(0))

    @cached_property
    def _size(self) -> float:
        """Return the rough value, to reject distant values quickly; NaN where it is unknown."""
        try:
            size = math.nan if self.near is None else float(self.near)
        except OverflowError:
            return math.nan
        return size or math.nan

    def equals(self, other: Scalar) -> bool:
        if self.key == other.key:
            return self.elsewhere == other.elsewhere or None in (self.elsewhere, other.elsewhere)
        if self.near is None or other.near is None or (self.places is None and other.places is None):
            return False
        if abs(self._size - other._size) > abs(self._size) / 1000:
            return False
        return Exact(self.near, self.places).equals(Exact(other.near, other.places))


@dataclass(frozen=True)
class Based(Form):
    """Digits with a base, or a remainder with its modulus."""

    digits: str
    base: str

    @cached_property
    def name(self) -> str:
        return f"{self.digits} base {self.base}"


@dataclass(frozen=True)
class Clock(Form):
    """A time of day, or a ratio that looks like one; ``half`` of the day is am or pm where it is stated."""

    hours: int
    minutes: int
    half: str | None
    ratio: Form | None

    @cached_property
    def name(self) -> str:
        return f"time {self._minutes} {self.is_known}"

    @property
    def is_known(self) -> bool:
        return self.half is not None or self.hours > 12 or self.hours == 0

    @property
    def _minutes(self) -> int:
        hours = self.hours % 12 + 12 * (self.half == "pm") if self.half else self.hours
        return 60 * hours + self.minutes


@dataclass(frozen=True)
class Several(Form):
    """Items in brackets of one kind; ``width`` of a matrix."""

    kind: Kind
    items: tuple[Form, ...]
    width: int = 0

    @cached_property
    def name(self) -> str:
        return self._text([item.name for item in self.items])

    @cached_property
    def vote_key(self) -> str:
        keys = [item.vote_key for item in self.items]
        return self._text(sorted(keys) if self.kind in ("list", "set", "union") else keys)

    def _text(self, items: list[str]) -> str:
        return f"{self.kind}{self.width or ''} {{{'; '.join(items)}}}"


@dataclass(frozen=True)
class Named(Form):
    """``variable = value``; ``equation`` is what the equation as a whole says."""

    variable: str
    value: Form
    equation: str | None = None

    @cached_property
    def name(self) -> str:
        return f"{self.variable} = {self.value.name}"

    @cached_property
    def vote_key(self) -> str:
        return f"{self.variable} = {self.value.vote_key}"


@dataclass(frozen=True)
class Relation(Form):
    """An equation or an inequality, whatever it was multiplied with."""

    key: str

    @cached_property
    def name(self) -> str:
        return self.key


Read = Callable[[Tokens], Form]
"""Reads a part of an answer, as the whole of it is read. Raises Unreadable."""


def same(a: Form, b: Form) -> bool:
    """Return whether two answers are the same, whichever of them is the reference."""
    if a.name == b.name:
        return True
    return _same(a, b) or (type(a) is not type(b) and _same(b, a))


def _same(a: Form, b: Form) -> bool:
    match a, b:
        case Named(), Named():
            return (
                same(a.value, b.value) if a.variable == b.variable else _same_equation(a.equation, b.equation)
            )
        case Named(), Relation():
            return _same_equation(a.equation, b.key)
        case Named(), _:
            return same(a.value, b)
        case Scalar(), Scalar():
            return a.equals(b)
        case Words(), Scalar():
            return b.letter is not None and a.text == b.letter.casefold()
        case Based(), Scalar():
            return a.digits == b.key
        case Based(), Relation():
            return a.name == b.key
        case Clock(), Scalar():
            return a.half is None and a.ratio is not None and same(a.ratio, b)
        case Several(), Several():
            return _same_items(a, b)
    return False


def _same_equation(a: str | None, b: str | None) -> bool:
    return a is not None and a == b


def _same_items(a: Several, b: Several) -> bool:
    kinds = frozenset((a.kind, b.kind))
    if kinds in _UNORDERED:
        return _match(a.items, b.items)
    if len(kinds) == 1 or kinds in _ORDERED:
        return len(a.items) == len(b.items) and a.width == b.width and all(map(same, a.items, b.items))
    return False


def _match(a: Sequence[Form], b: Sequence[Form]) -> bool:
    """Return whether each item has a different partner on the other side."""
    if len(a) != len(b) or len(a) > MAX_MATCHED:
        return False
    left = list(b)
    for item in a:
        found = next((i for i, other in enumerate(left) if same(item, other)), None)
        if found is None:
            return False
        del left[found]
    return True


def several(kind: Kind, items: Sequence[Form], width: int = 0) -> Form:
    """Return a set without what it says twice; one value alone is that value."""
    if kind == "set":
        items = list({item.name: item for item in items}.values())
    if len(items) == 1 and kind in ("list", "set", "()", "[]", "union"):
        return items[0]
    return Several(kind, tuple(items), width)
