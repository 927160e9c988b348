r"""Answers that are neither formulas nor words: ``3 to 4``, ``5 \pmod 7``, ``3:30 p.m.``, systems in rows."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from orchestrator.tasks.grading.brackets import condition_of
from orchestrator.tasks.grading.forms import (
    Based,
    Clock,
    Form,
    Named,
    Read,
    Relation,
    Several,
    Words,
    several,
)
from orchestrator.tasks.grading.formula import Unreadable
from orchestrator.tasks.grading.joining import combined, joined
from orchestrator.tasks.grading.names import name_of
from orchestrator.tasks.grading.parser import formula_of
from orchestrator.tasks.grading.scalars import form_of
from orchestrator.tasks.grading.spans import EVERYTHING
from orchestrator.tasks.grading.tokens import Token, Tokens, split, split_at

_LABEL = re.compile(r"\([A-J]\)[.:]?|[A-J]\)")
_ALL_BUT = re.compile(
    r"(?:the set of )?all (?:real numbers|reals|real|real values)(?: of)?(?: [a-z])?"
    r" (?:except|but|excluding|other than)(?: for| when| where)?"
)
_O_CLOCK = re.compile(r"(\d{1,2}) ?o'? ?clock", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)|(\d{1,2})")
_COMPARED = ("le", "ge", "ne", "in")
_SYSTEMS = ("cases", "aligned", "align", "gathered", "split", "rcases")


def phrase(tokens: Tokens, read: Read) -> Form | None:
    """Return the answer that one of these phrases gives; None for another text."""
    for reading in (_named_by_points, _condition, _ratio, _all_but, _remainder, _system, _transposed):
        if (found := reading(tokens, read)) is not None:
            return found
    return None


def without_label(tokens: Tokens) -> Tokens:
    r"""Return ``\textbf{(A)}\ 5`` and ``(A) 5`` without the label of an option."""
    if len(tokens) > 1 and tokens[0].kind == "words" and _LABEL.fullmatch(tokens[0].text):
        return tokens if tokens[1].is_sign(",") or tokens[1].is_command("and", "or") else tokens[1:]
    is_label = len(tokens) > 3 and _LABEL.fullmatch("".join(t.text for t in tokens[:3])) is not None
    if is_label and tokens[3].spaced and (tokens[3].kind == "number" or tokens[3].is_command("frac", "sqrt")):
        return tokens[3:]
    return tokens


def clock_of(tokens: Tokens) -> Form | None:
    """Read ``3:30``, ``3:30 p.m.``, ``3 pm``, ``3 o'clock``; None for another text."""
    if (match := _O_CLOCK.fullmatch("".join(t.text for t in tokens[:5]))) and int(match[1]) <= 12:
        return Clock(int(match[1]), 0, None, _as_ratio(tokens[:1]))
    *before, last = tokens
    half = "".join(c for c in last.text.lower() if c.isalpha()) if last.kind == "words" else ""
    texts = before if half in ("am", "pm") else list(tokens)
    match = _CLOCK.fullmatch("".join(t.text for t in texts)) if len(texts) <= 3 else None
    if match is None or (match[3] and half not in ("am", "pm")):
        return None
    hours, minutes = int(match[1] or match[3]), int(match[2] or 0)
    if hours > 24 or minutes > 59:
        return None
    known = half if half in ("am", "pm") else None
    return Clock(hours, minutes, known, None if known or (match[2] or "")[:1] == "0" else _as_ratio(texts))


def _as_ratio(tokens: Sequence[Token]) -> Form | None:
    try:
        return form_of(formula_of(tokens))
    except Unreadable:
        return None


def modulus_at(tokens: Tokens) -> int | None:
    r"""Return where ``\pmod 7`` or ``(mod 7)`` begins, which ends the tokens; None where nothing does."""
    for index, token in enumerate(tokens):
        if index and (token.is_command("pmod", "mod", "bmod") or token.text.strip(" (").lower() == "mod"):
            is_open = tokens[index - 1].is_sign("(") and tokens[-1].is_sign(")")
            if token.is_command("bmod") and not is_open:
                return None  # an operation
            return index - is_open if index - is_open > 0 else None
    return None


def modulus_of(tokens: Tokens) -> int | None:
    """Return the modulus in the tokens from ``modulus_at`` on."""
    return _integer([t for t in tokens if t.kind == "number" or t.is_sign("-")])


def _named_by_points(tokens: Tokens, _: Read) -> Form | None:
    r"""Read ``\overline{AB}`` as AB, ``\triangle ABC`` as ABC."""
    names = "".join(t.text for t in tokens[1:]).strip("{}") if tokens[0].kind == "command" else ""
    is_named = tokens[0].is_command("overline") and re.fullmatch("[A-Z]{2}", names)
    if is_named or (tokens[0].is_command("triangle") and re.fullmatch("[A-Z]{3}", names)):
        return Words(names.casefold())
    return None


def _condition(tokens: Tokens, read: Read) -> Form | None:
    r"""Read ``x \mid x > 3``, whose braces were lost."""
    condition = condition_of(tokens, "|")
    is_of_it = any(t.text == tokens[0].text for t in condition)
    return read(condition) if is_of_it and any(map(_compares, condition)) else None


def _compares(token: Token) -> bool:
    return token.is_sign("<", ">") or token.is_command(*_COMPARED)


def _ratio(tokens: Tokens, _: Read) -> Form | None:
    """Read ``3 to 4``. A range has ``to`` as well: numbers with a common factor are not a ratio."""
    if len(tokens) != 3 or tokens[1].text != "to" or not all(t.text.isdecimal() for t in tokens[::2]):
        return None
    if max(len(t.text) for t in tokens) > 9 or math.gcd(*(int(t.text) for t in tokens[::2])) != 1:
        return None
    return form_of(formula_of([tokens[0], Token("sign", ":"), tokens[2]]))


def _all_but(tokens: Tokens, read: Read) -> Form | None:
    """Read ``all real numbers except 2``."""
    num_words = next((i for i, t in enumerate(tokens) if t.kind not in ("letters", "words")), len(tokens))
    for end in (num_words, num_words - 1):
        if 0 < end < len(tokens) and _ALL_BUT.fullmatch(" ".join(t.text for t in tokens[:end]).lower()):
            rest = read(tokens[end:])
            value = rest.value if isinstance(rest, Named) else rest
            items = value.items if isinstance(value, Several) and value.kind in ("list", "set") else (value,)
            return combined([EVERYTHING.form, several("set", items)], "setminus")
    return None


def _remainder(tokens: Tokens, _: Read) -> Form | None:
    r"""Read ``5 \pmod 7`` and ``x \equiv 5 \pmod 7``."""
    if (start := modulus_at(tokens)) is None:
        return None
    modulus = modulus_of(tokens[start:])
    sides = [side for side, _ in split_at(tokens[:start], lambda t: t.is_command("equiv") or t.is_sign("="))]
    number = _integer([t for t in sides[-1] if not t.is_sign("{", "}")])
    if number is None or not modulus or len(sides) > 2:
        return None
    found = Based(str(number % modulus), f"modulo {modulus}")
    name = name_of(sides[0]) if len(sides) == 2 else ""
    if name is None:
        return None
    # "All numbers" of a class is not "the least" of them.
    return Named(name, Relation(found.name)) if name else found


def _integer(tokens: Tokens) -> int | None:
    text = "".join(t.text for t in tokens)
    return int(text) if re.fullmatch(r"-?\d{1,30}", text) else None


def _system(tokens: Tokens, read: Read) -> Form | None:
    r"""Read ``\begin{cases} x = 1 \\ y = 2 \end{cases}``. Raises Unreadable where its cells are others."""
    is_braced = len(tokens) > 1 and tokens[0].is_sign("\\{") and tokens[1].is_command("begin array")
    tokens = tokens[is_braced:]
    if not tokens[0].text.startswith("begin "):
        return None
    if tokens[0].text.split()[1] not in _SYSTEMS and (not is_braced or tokens[-1].is_sign("\\}")):
        return None
    end = next((i for i, t in enumerate(tokens) if t.is_command("end")), len(tokens))
    rows = [_aligned(row) for row in split(tokens[1:end], "\\")]
    if any(t.is_sign("&") for row in rows for t in row):
        raise Unreadable
    return joined([row for row in rows if row], ",", read)


def _aligned(row: Tokens) -> Sequence[Token]:
    """Return a row without the marks that align its signs of comparison."""
    return [
        t
        for i, t in enumerate(row)
        if not (t.is_sign("&") and row[i + 1 : i + 2] and (_compares(row[i + 1]) or row[i + 1].is_sign("=")))
    ]


def _transposed(tokens: Tokens, read: Read) -> Form | None:
    """Read ``(1, 2)^T``, a column, and ``Matrix([[1, 2], [3, 4]])``."""
    if len(tokens) > 3 and tokens[0].text == "Matrix" and tokens[1].is_sign("("):
        return read(tokens[2:-1])
    end = next((i for i, t in enumerate(tokens) if t.is_sign("^")), len(tokens))
    power = "".join(t.text for t in tokens[end + 1 :]).strip("{}")
    if power not in ("T", "top", "intercal") or not tokens[0].is_sign("(", "["):
        return None
    if not tokens[end - 1].is_sign(")", "]") or len(items := split(tokens[1 : end - 1], ",")) < 2:
        return None
    if any(t.is_sign("[") for t in tokens[1:end]):
        raise Unreadable
    return several("vector", [read(item) for item in items])
