"""Numbers in a formula: alone, mixed with a fraction, digit by digit after a command."""

from __future__ import annotations

from fractions import Fraction

from orchestrator.tasks.grading.cursor import Cursor
from orchestrator.tasks.grading.formula import Formula, Unreadable, number
from orchestrator.tasks.grading.numbers import exact_number, integer_of
from orchestrator.tasks.grading.tokens import Token


class NumberRules(Cursor):
    """The rules that read numbers."""

    def _number(self, token: Token) -> Formula:
        whole = number_node(token.text)
        first = self._next
        if token.text.endswith(".") and first is not None and first.is_command("overline", "dot"):
            raise Unreadable  # digits that have no values
        if whole.op == "number" and token.text.isdecimal() and first is not None:
            part = self._fraction_part(first)
            if part is not None:
                return number(whole.value + part)
        return whole

    def _fraction_part(self, first: Token) -> Fraction | None:
        """Return the fraction of a mixed number, that follows its whole part."""
        start, braces = self.position, self._took("{")
        above, below = self._fraction_terms(self._next or first)
        is_fraction = above is not None and below is not None and (above + below).isdecimal()
        if not is_fraction or not integer_of(below or "") or (braces and not self._took("}")):
            self.position = start
            return None
        return Fraction(integer_of(above or ""), integer_of(below or ""))

    def _fraction_terms(self, first: Token) -> tuple[str | None, str | None]:
        r"""Return the digits of ``\frac{1}{4}`` or of ``1/4``, as far as there are any."""
        if first.is_command("frac"):
            self.position += 1
            return self._fraction_digits(), self._fraction_digits()
        slash, below = self._peek(1), self._peek(2)
        if first.kind != "number" or slash is None or not slash.is_sign("/") or below is None:
            return None, None
        self.position += 3
        return first.text, below.text if below.kind == "number" else None

    def _fraction_digits(self) -> str | None:
        r"""Return the digits that are a term of a ``\frac``, or None where it is something else."""
        token = self._next
        if token is not None and token.is_sign("{"):
            inner, close = self._peek(1), self._peek(2)
            if inner is None or close is None or inner.kind != "number" or not close.is_sign("}"):
                return None
            self.position += 3
            return inner.text
        return self._digit() if token is not None and token.kind == "number" else None

    def _digit(self) -> str:
        r"""Read one digit, as LaTeX takes it: ``\frac12``."""
        token = self._take()
        if len(token.text) > 1:
            self._insert(Token("number", token.text[1:]))
        return token.text[0]


def number_node(text: str) -> Formula:
    exact = exact_number(text)
    if exact is None:
        raise Unreadable
    return number(exact.value)
