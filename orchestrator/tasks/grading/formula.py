"""Formulas as trees."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property


class Unreadable(Exception):
    """The text is not a formula, or has no value that can be computed."""


@dataclass(frozen=True)
class Formula:
    """``op`` of its ``args``. Numbers have a ``value``, variables (``op="letter"``) a ``name``."""

    op: str
    args: tuple[Formula, ...] = ()
    value: Fraction = Fraction(0)
    name: str = ""

    @cached_property
    def letters(self) -> frozenset[str]:
        """Return the variables that it depends on."""
        own = {self.name} if self.op == "letter" else set()
        return frozenset(own.union(*(arg.letters for arg in self.args)))

    @cached_property
    def num_signs(self) -> int:
        """Return how many ± and ∓ it has."""
        return (self.op in ("pm", "mp")) + sum(arg.num_signs for arg in self.args)


def number(value: int | Fraction) -> Formula:
    return Formula("number", value=Fraction(value))
