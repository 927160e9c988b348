"""Formulas as forms: values, both signs of each ±, equations and inequalities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product

from orchestrator.tasks.grading.arithmetic import (
    Value,
    add,
    div,
    is_real,
    key_at_place,
    key_of,
    rational_near,
)
from orchestrator.tasks.grading.forms import Form, Relation, Scalar, several
from orchestrator.tasks.grading.formula import Formula, Unreadable
from orchestrator.tasks.grading.spans import INFINITY, MINUS_INFINITY
from orchestrator.tasks.grading.values import MIXED, POSITIVE, Point, value_of

MAX_SIGNS = 4
_ONLY_POSITIVE = frozenset(("root", "ln", "log"))


def scalar_of(value: Value) -> Scalar:
    """Return the form of a value without variables."""
    return Scalar(key_of(value), rational_near(value))


def form_of(node: Formula) -> Form:
    """Return the value of a formula; a list of all its values where it has a ±. Raises Unreadable."""
    if node.op == "infty":
        return INFINITY
    if node.op == "neg" and node.args[0].op == "infty":
        return MINUS_INFINITY
    if node.num_signs:
        return several("list", [_scalar(node, signs) for signs in _all_signs(node)])
    return _scalar(node, {})


def _scalar(node: Formula, signs: dict[int, int]) -> Scalar:
    value = value_of(node, signs=signs)
    letter = node.name if node.op == "letter" and len(node.name) == 1 else None
    if not node.letters:
        return replace(scalar_of(value), letter=node.op if node.op in ("e", "i") else None)
    return Scalar(key_at_place(value), elsewhere=_elsewhere(node, signs), letter=letter)


def _elsewhere(node: Formula, signs: dict[int, int]) -> str | None:
    """Return the value at places not all positive; None where roots or logarithms need positive ones."""
    if any(_needs_positive(part) for part in _parts(node)):
        return None
    try:
        return " ".join(key_at_place(value_of(node, place, signs)) for place in MIXED)
    except Unreadable:
        return None


def _parts(node: Formula) -> Iterator[Formula]:
    yield node
    for arg in node.args:
        yield from _parts(arg)


def _needs_positive(node: Formula) -> bool:
    if node.op == "pow":
        base, exponent = node.args
        if not base.letters:
            return False
        return bool(exponent.letters) or not _is_whole(exponent)
    return node.op in _ONLY_POSITIVE and bool(node.letters)


def _is_whole(node: Formula) -> bool:
    try:
        value = value_of(node)
    except Unreadable:
        return False
    return isinstance(value, Fraction) and value.denominator == 1


def _all_signs(node: Formula) -> list[dict[int, int]]:
    """Return a sign for each ± and ∓: free ones, unless a ∓ says that they belong together."""
    nodes = [part for part in _parts(node) if part.op in ("pm", "mp")]
    if len(nodes) > MAX_SIGNS:
        raise Unreadable
    if any(part.op == "mp" for part in nodes):
        return [{id(n): sign if n.op == "pm" else -sign for n in nodes} for sign in (1, -1)]
    signs = product((1, -1), repeat=len(nodes))
    return [dict(zip(map(id, nodes), chosen, strict=True)) for chosen in signs]


def equation_of(left: Formula, right: Formula) -> str:
    """Return a name that equations share which are multiples of each other. Raises Unreadable."""
    values = _differences(left, right)
    first = next((v for v in values if v != 0), None)
    if first is None:
        raise Unreadable
    return "equation " + " ".join(key_at_place(div(v, first)) for v in values)


def inequality_of(low: Formula, high: Formula, *, strict: bool) -> Relation:
    """Return the form of ``low < high``, or with ``=``; positive multiples are equal. Raises Unreadable."""
    values = _differences(high, low)
    first = next((v for v in values if v != 0), None)
    if first is None or not is_real(first):
        raise Unreadable
    size = first if is_positive(first) else -first
    sign = "<" if strict else "<="
    return Relation(f"inequality {sign} " + " ".join(key_at_place(div(v, size)) for v in values))


def is_positive(value: Value) -> bool:
    """Return whether a real value is above 0."""
    return bool(value > 0) if isinstance(value, Fraction) else bool(value.real > 0)


def _differences(left: Formula, right: Formula) -> list[Value]:
    if left.num_signs or right.num_signs:
        raise Unreadable
    return [add(value_of(left, place), -value_of(right, place)) for place in POSITIVE]


def linear(node: Formula) -> tuple[str, Value, Value] | None:
    """Return variable, slope and constant of a formula that is linear in its one variable; else None."""
    if len(node.letters) != 1 or node.num_signs:
        return None
    (letter,) = node.letters
    try:
        zero, one, other = (value_of(node, _at(n)) for n in (0, 1, -7))
        slope = add(one, -zero)
        is_linear = add(other, add(7 * slope, -zero)) == 0
    except (Unreadable, ArithmeticError):
        return None
    return (letter, slope, zero) if is_linear and slope != 0 and is_real(slope) and is_real(zero) else None


def _at(number: int) -> Point:
    return lambda _: Fraction(number)
