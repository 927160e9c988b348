"""Values in brackets: points, intervals, sets, vectors, matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import TypeGuard

from orchestrator.tasks.grading.forms import Form, Kind, Read, Scalar, Several, several
from orchestrator.tasks.grading.formula import Formula, Unreadable, number
from orchestrator.tasks.grading.parser import formula_of
from orchestrator.tasks.grading.scalars import form_of
from orchestrator.tasks.grading.spans import EVERYTHING
from orchestrator.tasks.grading.tokens import Token, Tokens, depth_change, split, split_at

MAX_CHOICES = 16
_KINDS: dict[tuple[str, str], Kind] = {
    ("(", ")"): "()", ("[", "]"): "[]", ("(", "]"): "(]", ("[", ")"): "[)", ("]", "["): "open",
    ("]", "]"): "(]", ("[", "["): "[)", ("\\{", "\\}"): "set",
    ("langle", "rangle"): "vector", ("<", ">"): "vector",
}  # fmt: skip


def bracketed(tokens: Tokens, read: Read) -> Form | None:
    """Return the form of what is in brackets as a whole; None for another text. Raises Unreadable."""
    if len(tokens) < 2:
        return _known_set(tokens[0])
    kind = _KINDS.get((tokens[0].text, tokens[-1].text))
    inner = tokens[1:-1]
    if kind is None or not _is_whole(inner):
        return None
    if kind == "set" and (condition := condition_of(inner, "|", ":")):
        return read(condition)
    parts = split(inner, ",") if inner else []
    if kind == "[]" and parts and all(_is_row(part) for part in parts):
        return _rows([[read(cell) for cell in split(part[1:-1], ",")] for part in parts])
    return _of_kind(kind, [read(part) for part in parts])


def _is_choice(item: Form) -> TypeGuard[Several]:
    r"""Return whether a coordinate has several values: ``(\pm 3, 0)`` is two points."""
    return isinstance(item, Several) and item.kind == "list"


def _known_set(token: Token) -> Form | None:
    """Return the empty set and sets of numbers."""
    if token.is_command("emptyset"):
        return Several("set", ())
    if token.is_command("mathbb R"):
        return EVERYTHING.form
    return Scalar(token.text) if token.kind == "command" and token.text.startswith("mathbb ") else None


def _of_kind(kind: Kind, items: Sequence[Form]) -> Form | None:
    if kind == "set":
        return _set(items)
    if len(items) < 2:
        return items[0] if items and kind in ("()", "[]") and not isinstance(items[0], Scalar) else None
    if len(items) > 2 and kind not in ("()", "[]", "vector"):
        raise Unreadable
    choices = [item.items if _is_choice(item) else (item,) for item in items]
    if kind == "()" and 1 < math.prod(map(len, choices)) <= MAX_CHOICES:
        return several("list", [several(kind, chosen) for chosen in product(*choices)])
    return several("vector" if kind == "[]" and len(items) > 2 else kind, items)


def _is_whole(inner: Tokens) -> bool:
    """Return whether what opens first is closed last: not so in ``(x+1)(x+2)``."""
    depth = 0
    for token in inner:
        depth += depth_change(token)
        if depth < 0:
            return False
    return depth == 0


def _set(items: Sequence[Form]) -> Form:
    if Several("set", ()) in items:
        return Several("set", tuple(items))  # what holds the empty set is not empty
    flat: list[Form] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Several) and item.kind == "list" else [item])
    return several("set", flat)


def condition_of(inner: Tokens, *bars: str) -> Tokens:
    r"""Return the condition of ``\{x \mid x > 3\}``; nothing for another set."""
    parts = split_at(inner, lambda t: t.is_sign(*bars))
    if len(parts) != 2:
        return ()
    variable, condition = parts[0][0], parts[1][0]
    is_named = len(variable) in (1, 3) and variable[0].kind == "letters" and len(variable[0].text) == 1
    is_real = len(variable) == 1 or (variable[1].is_command("in") and variable[2].is_command("mathbb R"))
    return condition if is_named and is_real else ()


def _is_row(tokens: Tokens) -> bool:
    return len(tokens) > 2 and tokens[0].is_sign("[") and tokens[-1].is_sign("]") and _is_whole(tokens[1:-1])


def _rows(rows: Sequence[Sequence[Form]]) -> Form:
    """Return a matrix; one with a single column is a vector."""
    width = len(rows[0])
    if any(len(row) != width for row in rows) or not width:
        raise Unreadable
    entries = [entry for row in rows for entry in row]
    if len(entries) == 1:
        return entries[0]
    return several("vector", entries) if width == 1 else several("matrix", entries, width)


def matrix(tokens: Tokens, read: Read) -> Form | None:
    """Return a matrix with what it is multiplied with and its transposition; None for another text."""
    start = next(
        (i for i, t in enumerate(tokens) if t.text.startswith("begin ") and t.kind == "command"), None
    )
    if start is None:
        return None
    name = tokens[start].text.split()[1]
    end = next((i for i, t in enumerate(tokens) if t.is_command("end")), None)
    if end is None or not (name.endswith("matrix") or name in ("array", "bmatrix")) or name[0] in "vV":
        raise Unreadable
    rows = [split(row, "&") for row in split(tokens[start + 1 : end], "\\")]
    rows = [row for row in rows if any(row)]
    transposed = _is_transposed(tokens[end + 1 :], name)
    before = [t for t in tokens[:start] if not t.is_command("cdot", "times")]
    outer = _brackets_around(before, tokens[end + 1 :])
    factor = _factor(before) if before and not outer else None
    entries = [[_entry(cell, factor, read) for cell in row] for row in rows]
    if not entries:
        raise Unreadable
    return _rows(list(zip(*entries, strict=True)) if transposed else entries)


def _brackets_around(before: Sequence[Token], after: Tokens) -> bool:
    """Return whether an array is in brackets."""
    return len(before) == 1 and before[0].is_sign("(", "[") and any(t.is_sign(")", "]") for t in after)


def _factor(before: Sequence[Token]) -> Formula:
    return number(-1) if len(before) == 1 and before[0].is_sign("-") else formula_of(before)


def _entry(cell: Tokens, factor: Formula | None, read: Read) -> Form:
    if factor is None:
        return read(cell)
    return form_of(Formula("mul", (factor, formula_of(cell))))


def _is_transposed(after: Tokens, name: str) -> bool:
    """Return whether a power follows the name of the environment. Raises Unreadable for other things."""
    texts = "".join(t.text for t in after)
    texts = texts.removeprefix(f"{{{name}}}").removeprefix(f"{{{name}*}}").strip(")]")
    if texts in ("^T", "^{T}", "^top", "^{top}", "^intercal"):
        return True
    if texts:
        raise Unreadable
    return False
