"""Values of formulas at fixed places of their variables.

Two formulas are equal where their values are. That is a relation with classes, which simplification is not,
and it takes microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache

from orchestrator.seeds import derive_seed
from orchestrator.tasks.grading.arithmetic import Value, add, mul
from orchestrator.tasks.grading.formula import Formula, Unreadable
from orchestrator.tasks.grading.functions import CONSTANTS, OPERATIONS

Point = Callable[[str], Value]


def positive(index: int) -> Point:
    """Return 2..16 for each variable, the same in every process; far apart, so that roundings differ."""
    return lru_cache(maxsize=4096)(
        lambda name: 2 + 14 * Fraction(derive_seed("place", index, name) >> 33, 2**30)
    )


def mixed(index: int) -> Point:
    """Return a place that is negative for every variable, or for some."""
    place = positive(10 + index)
    return lambda name: place(name) * (-1 if index == 0 or derive_seed("sign", index, name) % 2 else 1)


POSITIVE = tuple(positive(i) for i in range(4))
MIXED = (mixed(0), mixed(1), mixed(2))


def value_of(node: Formula, place: Point = POSITIVE[0], signs: Mapping[int, int] | None = None) -> Value:
    """Return the value; raises Unreadable where there is none."""
    try:
        return _evaluate(node, place, signs or {})
    except (ArithmeticError, ValueError, TypeError, MemoryError, RecursionError, AttributeError):
        raise Unreadable from None


def _evaluate(node: Formula, place: Point, signs: Mapping[int, int]) -> Value:
    if node.op == "number":
        return node.value
    if node.op == "letter":
        return place(node.name)
    if node.op in CONSTANTS:
        return CONSTANTS[node.op]
    args = [_evaluate(arg, place, signs) for arg in node.args]
    if node.op in ("pm", "mp"):
        return add(args[0], mul(Fraction(signs[id(node)]), args[1]))
    if node.op not in OPERATIONS:
        raise Unreadable
    return OPERATIONS[node.op](*args)
