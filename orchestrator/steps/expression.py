r"""Regular expressions whose search takes time in proportion to the text, whatever the expression.

Python's ``re`` may take exponential time. Here an expression becomes an automaton that reads character by
character. The syntax is that of ``re``: characters, ``.``, classes, escapes such as ``\s``, groups, ``|``,
``?``, ``{m,n}``, ``*`` and ``+`` (at most ``REPEATS`` times), and ``(?i)`` in front. What looks around
(``^``, ``$``, ``\b``, ``(?=``, ``\1``) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

REPEATS = 32
"""How often ``*`` and ``+`` repeat at most."""

MOST_PLACES = 1000
"""How many characters an expression may have, each repetition counted: what bounds a search."""

_QUANTIFIER = re.compile(r"(?:([?*+])|\{(?!\})(\d*)(?:(,)(\d*))?\})([?+]?)")
_FLAGS = re.compile(r"\(\?([is]{1,2})\)")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|.)", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_LOOKS_AROUND = frozenset("bBAZ0123456789")


class ExpressionError(ValueError):
    """An expression that cannot be used; the message says what is allowed."""


@dataclass(eq=False, slots=True)
class _Place:
    """One character of an expression, and the places that may follow it."""

    matches: re.Pattern[str]
    following: list[_Place] = field(default_factory=list)
    is_last: bool = False
    known: dict[str, bool] = field(default_factory=dict)

    def takes(self, char: str) -> bool:
        if char not in self.known:
            self.known[char] = self.matches.fullmatch(char) is not None
        return self.known[char]


@dataclass(slots=True)
class _Part:
    """A part of an expression: where it may begin and end, and whether it may be nothing."""

    first: list[_Place]
    last: list[_Place]
    empty: bool
    width: int


class Expression:
    r"""An expression that is searched for the match that ends first, and of those the longest.

    Example::

        assert Expression(r"\n+(Wait|Hmm)").find("So.\n\nWait, no") == (3, 9)
    """

    def __init__(self, pattern: str) -> None:
        """Read ``pattern``. Raises ExpressionError."""
        part = _Reader(pattern).whole()
        if part.empty:
            raise ExpressionError("must not match an empty text")
        for place in part.last:
            place.is_last = True
        self._first = part.first
        self._last = part.last
        self.width = part.width
        """The length of its longest match, in characters."""

    def find(self, text: str, begin: int = 0) -> tuple[int, int] | None:
        """Return the begin and the end of the match that ends first; None where there is none."""
        begun: dict[
            _Place, int
        ] = {}  # the places that may take the next character, by where the match begins
        for at in range(begin, len(text)):
            for place in self._first:
                begun.setdefault(place, at)
            following: dict[_Place, int] = {}
            ends: list[int] = []
            for place, start in begun.items():
                if not place.takes(text[at]):
                    continue
                ends += [start] * place.is_last
                for after in place.following:
                    following[after] = min(start, following.get(after, start))
            if ends:
                return min(ends), at + 1
            begun = following
        return None

    def can_end_with(self, char: str) -> bool:
        """Return whether a match may end with this character."""
        return any(place.takes(char) for place in self._last)


@lru_cache(maxsize=64)
def expression(pattern: str) -> Expression:
    """Return the expression of a pattern, read once. Raises ExpressionError."""
    return Expression(pattern)


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern, self._at, self._num_places = pattern, 0, 0
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ExpressionError(f"is not a regular expression: {error}") from None
        flags = _FLAGS.match(pattern)
        self._flags = f"(?{flags[1]})" if flags else ""
        self._at = flags.end() if flags else 0

    def whole(self) -> _Part:
        return self._alternatives()

    def _alternatives(self) -> _Part:
        part = self._sequence()
        while self._peek() == "|":
            self._at += 1
            part = _either(part, self._sequence())
        return part

    def _sequence(self) -> _Part:
        part = _Part([], [], True, 0)
        while self._peek() not in ("", "|", ")"):
            part = _joined(part, self._repeated())
        return part

    def _repeated(self) -> _Part:
        begin = self._at
        part = self._atom()
        found = _QUANTIFIER.match(self._pattern, self._at)
        if found is None:
            return part
        if found[5] == "+":
            raise ExpressionError(f"must not hold {found[0]!r}: possessive repetition")
        end, least, most = self._at, *_bounds(found)
        copies = [part] if most else []
        for _ in range(most - 1):  # each copy has its own places
            self._at = begin
            copies.append(self._atom())
        self._at = end + len(found[0])
        return _in_a_row(copies, least)

    def _atom(self) -> _Part:
        pattern, char = self._pattern, self._peek()
        if char == "(":
            return self._group()
        if char in "^$":
            raise ExpressionError(f"must not look around: it holds {char!r}")
        source = char
        if char == "[":
            found = _CLASS.match(pattern, self._at)
            source = found[0] if found else char
        elif char == "\\":
            found = _ESCAPE.match(pattern, self._at)
            source = found[0] if found else char
            if source[1:] and source[1] in _LOOKS_AROUND:
                raise ExpressionError(f"must not look around: it holds {source!r}")
        self._at += len(source)
        return self._place(source)

    def _group(self) -> _Part:
        if self._pattern.startswith("(?", self._at) and not self._pattern.startswith("(?:", self._at):
            shown = self._pattern[self._at : self._at + 4]
            raise ExpressionError(f"must have no groups but (...) and (?:...): it holds {shown!r}")
        self._at += 3 if self._pattern.startswith("(?:", self._at) else 1
        part = self._alternatives()
        self._at += 1  # the bracket: re has read the pattern
        return part

    def _place(self, source: str) -> _Part:
        self._num_places += 1
        if self._num_places > MOST_PLACES:
            allowed = f"must have at most {MOST_PLACES} characters, each repetition counted"
            raise ExpressionError(f"{allowed} ('*' and '+' repeat {REPEATS} times)")
        quoted = re.escape(source) if source in "{}]" else source
        place = _Place(re.compile(self._flags + quoted))
        return _Part([place], [place], False, 1)

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]


def _bounds(found: re.Match[str]) -> tuple[int, int]:
    """Return how often a part is repeated, at least and at most."""
    if found[1]:
        return int(found[1] == "+"), 1 if found[1] == "?" else REPEATS
    least = int(found[2] or 0)
    if not found[3]:
        return least, least
    return least, int(found[4]) if found[4] else max(least, REPEATS)


def _joined(one: _Part, other: _Part) -> _Part:
    for place in one.last:
        place.following += other.first
    first = one.first + (other.first if one.empty else [])
    last = other.last + (one.last if other.empty else [])
    return _Part(first, last, one.empty and other.empty, one.width + other.width)


def _either(one: _Part, other: _Part) -> _Part:
    empty = one.empty or other.empty
    return _Part(one.first + other.first, one.last + other.last, empty, max(one.width, other.width))


def _in_a_row(copies: list[_Part], least: int) -> _Part:
    """Return the copies one after the other, of which those after the ``least`` first may be missing."""
    part = _Part([], [], True, 0)
    for copy in reversed(list(_from(copies, least))):
        part = _joined(copy, part)
        part.empty = part.empty or copy.empty
    return part


def _from(copies: list[_Part], least: int) -> Iterator[_Part]:
    for number, copy in enumerate(copies):
        yield copy if number < least else _Part(copy.first, copy.last, True, copy.width)
