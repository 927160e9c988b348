"""How numbers stand in a formula: alone, mixed with a fraction, digit by digit after a command."""

from __future__ import annotations

from fractions import Fraction

from orchestrator.grading_cursor import Cursor
from orchestrator.grading_formula import Node, Unreadable, number
from orchestrator.grading_numbers import exact_number, integer_of
from orchestrator.grading_tokens import Token


class NumberRules(Cursor):
    """Numbers."""

    def _number(self, token: Token) -> Node:
        whole = number_node(token.text)
        first = self._next
        if whole.op == "number" and token.text.isdecimal() and first is not None:
            part = self._fraction_part(first)
            if part is not None:
                return number(whole.value + part)
        return whole

    def _fraction_part(self, first: Token) -> Fraction | None:
        """The fraction of a mixed number, that follows its whole part."""
        start = self.position
        if first.is_sign("{") and (inner := self._peek(1)) is not None and inner.is_command("frac"):
            self.position += 1
            part = self._fraction_part(inner)
            if part is not None and self._took("}"):
                return part
            self.position = start
            return None
        if first.is_command("frac"):
            self.position += 1
            texts = [self._fraction_digits(), self._fraction_digits()]
        elif first.kind == "number" and (slash := self._peek(1)) is not None and slash.is_sign("/"):
            below = self._peek(2)
            texts = [first.text, below.text if below is not None and below.kind == "number" else None]
            self.position += 3
        else:
            return None
        above, below_text = texts
        if (
            above is None
            or below_text is None
            or not (above + below_text).isdecimal()
            or not integer_of(below_text)
        ):
            self.position = start
            return None
        return Fraction(integer_of(above), integer_of(below_text))

    def _fraction_digits(self) -> str | None:
        r"""The digits that are a term of a ``\frac``, or None where it is something else."""
        token = self._next
        if token is not None and token.is_sign("{"):
            inner, close = self._peek(1), self._peek(2)
            if inner is None or close is None or inner.kind != "number" or not close.is_sign("}"):
                return None
            self.position += 3
            return inner.text
        return self._digit() if token is not None and token.kind == "number" else None

    def _digit(self) -> str:
        r"""One digit, as LaTeX takes it: ``\frac12``."""
        token = self._take()
        if len(token.text) > 1:
            self._insert(Token("number", token.text[1:]))
        return token.text[0]


def number_node(text: str) -> Node:
    exact = exact_number(text)
    if exact is None:
        raise Unreadable
    return number(exact.value)
