"""Answers as texts: what the number or the words of one are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

# What LaTeX shows and what changes no answer: spacing, sizes of brackets and fractions.
_TIDY = [
    (re.compile(r"[\u2212\u2013]"), "-"),
    (re.compile(r",\s*\\!\s*|\{,\}"), ""),  # 10,\!080 and 10{,}080 are 10080
    (re.compile(r"\\[!,;:>]|\\(?:displaystyle|left|right)(?![a-zA-Z])"), ""),
    (re.compile(r"\\[dtc]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\(?:q?quad|\s)|~"), " "),
    # Currency, percent and degrees are units, as in the grader that MATH was published with: 10% is 10.
    (re.compile(r"\\?[$%€£]|\^\s*(?:\\circ|\{\s*\\circ\s*\})|°|\\degree"), ""),
    (re.compile(r"\s+"), " "),
]
_WRAPPED = re.compile(r"^(?:\$(.*)\$|\\\((.*)\\\)|\\\[(.*)\\\])$", re.DOTALL)
_TEXT = r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|rm)\s*\{([^{}]*)\}"
_UNIT = re.compile(rf"(?<=\S)\s*{_TEXT}(?:\s*\^\s*\{{?\d\}}?)?$")
# Words after a number that are no unit: they change it, or another text would be meant.
_NO_UNIT = re.compile(r"hundred|thousand|million|billion|trillion|dozen|\b[ap]\.?m\b|\bor\b|\band\b")
_ONLY_TEXT = re.compile(rf"^{_TEXT}$")

_DIGITS = r"\d{1,40}"
_GROUPED = r"\d{1,3}(?:,\d{3})+"
_DECIMAL = re.compile(rf"^([-+]?)({_GROUPED}|{_DIGITS})?(?:\.(\d{{0,40}}))?(?:[eE]([-+]?\d\d?))?$")
_TERM = rf"(?:\{{\s*([-+]?{_DIGITS})\s*\}}|\s*(\d))"
_FRACTION = re.compile(rf"^([-+]?)\s*(\d{{1,9}})?\s*\\frac{_TERM}{_TERM}$")
_RATIO = re.compile(rf"^([-+]?{_DIGITS})\s*/\s*({_DIGITS})$")
_BASED = re.compile(r"^([0-9A-F]+)_\{?(\d+)\}?$")
_BRACKETED = re.compile(r"^[(\[][^()\[\]]*,[^()\[\]]*[)\]]$")
_NOT_A_LIST = re.compile(r"[()\[\]=]|\\in(?![a-z])|\\\{|\\begin")
_NUMBER = re.compile(rf"-?{_GROUPED}(?:\.\d+)?(?![\d,])|-?\d+(?:\.\d+)?|-?\.\d+")


@dataclass(frozen=True, slots=True)
class Exact:
    """A number that was written out; ``places`` of a decimal, which may stand for a longer number."""

    value: Fraction
    places: int | None = None

    def equals(self, other: Exact) -> bool:
        """Exactly, or as the rounding of the other to six digits or more: 0.333333 is 1/3, 0.333 is not."""
        if self.value == other.value:
            return True
        decimals = [(n.places, n.value) for n in (self, other) if n.places is not None]
        if not decimals:
            return False
        places, rounded = min(decimals)
        difference = abs(self.value - other.value)
        unit = Fraction(10) ** -places
        return abs(rounded) >= 10**5 * unit and difference <= unit / 2


def tidy(answer: str) -> str:
    """The answer without what only concerns its looks: wrapping, spacing, units, percent, currency."""
    text = answer.strip()
    while wrapped := _WRAPPED.match(text):
        text = next(g for g in wrapped.groups() if g is not None).strip()
    for pattern, replacement in _TIDY:
        text = pattern.sub(replacement, text)
    text = text.strip().rstrip(".,;").strip()
    unit = _UNIT.search(text)
    if unit and not _NO_UNIT.search(unit.group(1).lower()):
        text = text[: unit.start()].strip()
    return text


def exact_number(tidied: str) -> Exact | None:
    """The number that a tidied text writes out: an integer, a decimal, a fraction, a mixed number."""
    if match := _DECIMAL.match(tidied):
        sign, whole, decimals, exponent = match.groups()
        if whole or decimals:
            value = Fraction(f"{(whole or '0').replace(',', '')}.{decimals or '0'}e{exponent or 0}")
            places = len(decimals or "") - int(exponent or 0) if value.denominator != 1 else None
            return Exact(-value if sign == "-" else value, places)
    if match := _FRACTION.match(tidied):
        sign, mixed, *terms = match.groups()
        above, below = int(terms[0] or terms[1]), int(terms[2] or terms[3])
        if below:
            value = int(mixed or 0) + Fraction(above, below)
            return Exact(-value if sign == "-" else value)
    if (match := _RATIO.match(tidied)) and int(match.group(2)):
        return Exact(Fraction(int(match.group(1)), int(match.group(2))))
    return None


def based_number(tidied: str) -> tuple[str, str] | None:
    """Digits and base of ``52_8``; None for another text."""
    match = _BASED.match(tidied.replace(" ", ""))
    return (match.group(1), match.group(2)) if match else None


def bracketed_alike(text: str, answer: str) -> str:
    """``answer`` in the brackets of ``text``, where it has none: ``1,2`` beside ``(1,2)`` is ordered."""
    if _BRACKETED.match(text) and "," in answer and not _NOT_A_LIST.search(answer):
        return f"{text[0]}{answer}{text[-1]}"
    return answer


def words(tidied: str) -> str | None:
    r"""The words of a text that is ``\text{...}`` and nothing else, in one case and without brackets."""
    match = _ONLY_TEXT.match(tidied)
    return plain_words(match.group(1)) if match else None


def plain_words(text: str) -> str:
    r"""Words in one case, without ``\text`` and brackets: ``\textbf{(C)}`` is ``c``."""
    unwrapped = re.sub(_TEXT, r"\1", text)
    return " ".join(re.sub(r"[()\[\]{}.]", " ", unwrapped).casefold().split())


def read_integer(answer: str) -> str | None:
    r"""The one number of an answer, without leading zeros; None where it has none or several.

    ``025`` and ``\$25.00`` are 25. A number that is no whole one is a wrong answer, but an answer: 5.5 is
    ``11/2``. An expression (``5^2``) is not carried out.
    """
    text = re.sub(rf"{_TEXT}(?:\s*\^\s*\{{?\d\}}?)?", " ", tidy(answer)).strip()
    number = exact_number(text)
    if number is None:
        found = _NUMBER.findall(text)
        if len(found) != 1 or re.search(r"[\^_/!*\\]", text):
            return None
        number = exact_number(found[0])
    return None if number is None else str(number.value)
