"""One operation with small whole numbers, as in chains and Countdown."""

from __future__ import annotations

from dataclasses import dataclass

MAX_VALUE = 99


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a chain: ``symbol`` is one of ``+ - * /``, ``operand`` a positive integer."""

    symbol: str
    operand: int

    def apply(self, value: int) -> int | None:
        """Return the result, or None where it is not a whole number of 1..MAX_VALUE."""
        if self.symbol == "/":
            result, rest = divmod(value, self.operand)
            return result if rest == 0 and result > 0 else None
        if self.symbol == "+":
            result = value + self.operand
        elif self.symbol == "-":
            result = value - self.operand
        else:
            result = value * self.operand
        return result if 0 < result <= MAX_VALUE else None
