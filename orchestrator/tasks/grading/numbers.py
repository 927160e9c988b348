"""Numbers that are written out: integers, decimals, fractions, mixed numbers, powers of ten."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

# Longer numbers are kept as digits.
MAX_DIGITS = 10_000
# Python reads and writes no longer integers at once (sys.get_int_max_str_digits).
_CHUNK = 4000
MIN_ROUNDED_DIGITS = 6

_DECIMAL = re.compile(
    r"([-+]?)\s?(\d*)(?:\.(\d*)(?:\((\d+)\))?)?"
    r"(?:[eE]([-+]?\d{1,3})|\s?(?:\\times|\\cdot|\*)\s?10\s?(?:\^|\*\*)\s?(?:\{\s?([-+]?\d{1,3})\s?\}|([-+]?\d{1,3})))?"
)
_TERM = r"(?:\{\s?([-+]?\d{1,10000})\s?\}|\s?(\d))"
_FRACTION = re.compile(rf"([-+]?)\s?(\d{{1,10000}})?\s?\\frac{_TERM}{_TERM}")
_RATIO = re.compile(r"([-+]?)\s?(?:(\d{1,10000})\s)?(\d{1,10000})\s?/\s?(\d{1,10000})")
_BASED = re.compile(r"\(?([0-9A-Fa-f]{1,400})\)?_\{?\(?(\d{1,3}|[A-Za-z]{3,7})\)?\}?")
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
          "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exact:
    """A number that was written out; ``places`` of a decimal, which may be rounded."""

    value: Fraction
    places: int | None = None

    def equals(self, other: Exact) -> bool:
        """Compare exactly, or as a rounding to six digits or more: 0.333333 is 1/3, 0.333 is not."""
        if self.value == other.value:
            return True
        decimals = [n for n in (self, other) if n.places is not None]
        return bool(decimals) and min(decimals, key=_precision).rounds(self.value - other.value)

    def rounds(self, difference: Fraction) -> bool:
        """Return whether a number that differs by ``difference`` is this one with more digits."""
        if self.places is None:
            return False
        unit = Fraction(10) ** -self.places
        return abs(self.value) >= 10 ** (MIN_ROUNDED_DIGITS - 1) * unit and abs(difference) <= unit / 2


def _precision(number: Exact) -> tuple[int, Fraction]:
    return (number.places or 0, abs(number.value))


@lru_cache(maxsize=4096)
def exact_number(tidied: str) -> Exact | None:
    """Return the number that a tidied text writes out: an integer, a decimal, a fraction, a mixed number.

    Repeating decimals are written as ``0.1(6)``.
    """
    if len(tidied) > 2 * MAX_DIGITS:
        return None
    if match := _DECIMAL.fullmatch(joined_groups(tidied) or tidied):
        return _decimal(match)
    if (match := _FRACTION.fullmatch(tidied)) or (match := _RATIO.fullmatch(tidied)):
        sign, mixed, *terms = match.groups()
        above, below = (integer_of(term) for term in terms if term)
        if below and (mixed is None or above >= 0):
            value = integer_of(mixed or "") + Fraction(above, below)
            return Exact(-value if sign == "-" else value)
    return None


def joined_groups(run: str) -> str | None:
    """Return ``1,234,567.8`` or ``1 234 567.8`` without its groups; None where it has none."""
    whole, point, decimals = run.partition(".")
    if point and whole and _is_grouped(run.split("."), 2):
        return run.replace(".", "")
    if point and "," in decimals and _is_grouped([whole, *decimals.split(",")[0].split(".")], 1):
        digits, _, rest = run.replace(".", "").partition(",")
        return f"{digits}.{rest}" if rest.isdecimal() else None
    for separator in ", ":
        if _is_grouped(whole.split(separator), 1):
            return whole.replace(separator, "") + point + decimals
    return None


def _is_grouped(groups: list[str], least: int) -> bool:
    """Return whether the groups of digits are thousands, or ``1,00,000`` as in India."""
    first, *rest = groups
    if len(rest) < least or not all(g.isdecimal() for g in rest) or len(rest[-1]) != 3:
        return False
    size = {len(g) for g in rest[:-1]}
    first = first.lstrip("-+ ")
    indian = size == {2} and len(first) <= 2 and any(g[0] == "0" for g in rest)
    return first.isdecimal() and len(first) <= 3 and first != "0" and (size <= {3} or indian)


def _decimal(match: re.Match[str]) -> Exact | None:
    sign, whole, decimals, repeating, *exponents = match.groups()
    if not whole and not decimals and not repeating:
        return None
    if max(len(whole), len(decimals or ""), len(repeating or "")) > MAX_DIGITS:
        return None
    exponent = int(next((e for e in exponents if e), "0"))
    digits = decimals or ""
    value = Fraction(integer_of(f"{whole}{digits}"), 10 ** len(digits))
    if repeating:
        value += Fraction(integer_of(repeating), (10 ** len(repeating) - 1) * 10 ** len(digits))
    value *= Fraction(10) ** exponent
    places = None if repeating or value.denominator == 1 else len(digits) - exponent
    return Exact(-value if sign == "-" else value, places)


def key_of_fraction(value: Fraction) -> str:
    """Return a text of a fraction of any length."""
    above = text_of(value.numerator)
    return above if value.denominator == 1 else f"{above}/{text_of(value.denominator)}"


def text_of(number: int) -> str:
    """Return the digits of an integer of any length."""
    if number.bit_length() < 3 * _CHUNK:
        return str(number)
    if number < 0:
        return f"-{text_of(-number)}"
    half = number.bit_length() * 3 // 20  # of its decimal digits
    first, second = divmod(number, 10**half)
    return text_of(first) + text_of(second).zfill(half)


def integer_of(digits: str) -> int:
    """Return the integer of digits of any length, with a sign."""
    if len(digits) <= _CHUNK:
        return int(digits or "0")
    if digits[0] in "+-":
        return -integer_of(digits[1:]) if digits[0] == "-" else integer_of(digits[1:])
    half = len(digits) // 2
    return integer_of(digits[:half]) * int(10 ** (len(digits) - half)) + integer_of(digits[half:])


def based_number(tidied: str) -> tuple[str, str] | None:
    """Return digits and base of ``52_8``; None for another text."""
    match = _BASED.fullmatch(tidied.replace(" ", "")[:500])
    if match is None:
        return None
    return match[1].upper().lstrip("0") or "0", _BASES.get(match[2].lower(), match[2])


def long_number(text: str) -> str | None:
    """Return the digits of a number too long to be read, without leading zeros and groups; else None."""
    bare = text.strip().lstrip("$+ ")
    sign, bare = ("-", bare[1:]) if bare.startswith("-") else ("", bare)
    whole, _, decimals = (joined_groups(bare) or bare).partition(".")
    if len(bare) <= MAX_DIGITS or not (whole + decimals).isdecimal() or not bare.isascii():
        return None
    decimals = decimals.rstrip("0")
    number = (whole.lstrip("0") or "0") + (f".{decimals}" if decimals else "")
    return number if number == "0" else sign + number


def repeated(digits: str) -> str | None:
    """Return ``1666``, of ``0.1666...``, as ``1(6)``: the shortest period at their end."""
    for period in range(1, min(len(digits) // 2, 40) + 1):
        start = len(digits) - period
        while start > 0 and digits[start - 1] == digits[start - 1 + period]:
            start -= 1
        if len(digits) - start >= 2 * period:
            return f"{digits[:start]}({digits[start : start + period]})"
    return None
