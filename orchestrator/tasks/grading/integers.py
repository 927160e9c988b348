"""The one number of an answer to a question that asks for an integer."""

from __future__ import annotations

from fractions import Fraction

from orchestrator.tasks.grading.forms import Scalar
from orchestrator.tasks.grading.formula import Formula, Unreadable
from orchestrator.tasks.grading.numbers import exact_number, key_of_fraction, long_number
from orchestrator.tasks.grading.parser import formula_of
from orchestrator.tasks.grading.phrases import modulus_at, modulus_of, without_label
from orchestrator.tasks.grading.scanning import MAX_TOKENS, tokens_of
from orchestrator.tasks.grading.tidy import MAX_LENGTH, tidy
from orchestrator.tasks.grading.tokens import Token, Tokens, split_at
from orchestrator.tasks.grading.units import is_all_unit, with_magnitudes, without_introduction, without_units
from orchestrator.tasks.grading.vocabulary import MAGNITUDES
from orchestrator.tasks.grading.words import words_form

_UNIT_LETTERS = frozenset("mghsLNWJ")
_BEFORE_NUMBER = (":", "-", "#", "(", "+", ".", "'")


def read_integer(answer: str) -> str | None:
    r"""Return the one number of an answer, without leading zeros; None where it has none or several.

    ``025``, ``\$25.00``, ``20 + 5 = 25`` and ``25 \text{ m}^2`` are 25. A number that is not whole is a
    wrong answer, but an answer: 5.5 is ``11/2``. An expression alone (``5^2``) is not computed.
    """
    text = tidy(answer)
    if (exact := exact_number(text)) is not None:
        return key_of_fraction(exact.value)
    if (digits := long_number(text)) is not None:
        return digits
    if len(text) > MAX_LENGTH:
        return None
    tokens = tokens_of(text)
    return _one_number(tokens) if len(tokens) <= MAX_TOKENS else None


def _one_number(tokens: Tokens) -> str | None:
    if isinstance(said := words_form(tokens), Scalar):
        return said.key  # seven
    tokens = without_label(tokens)
    if (start := modulus_at(tokens)) is not None:
        return _remainder(_one_number(tokens[:start]), modulus_of(tokens[start:]))
    joints = ("and", "or", "pm", "mp")
    if any(t.is_sign(":") and _are_numbers(tokens[i - 1 : i + 2 : 2]) for i, t in enumerate(tokens) if i):
        return None  # a ratio, or a time of day
    parts = [
        p for p, _ in split_at(tokens, lambda t: t.is_sign(",") or t.is_command(*joints)) if _has_number(p)
    ]
    if len(parts) != 1:
        return None
    sides = [
        s for s, _ in split_at(parts[0], lambda t: t.is_sign("=") or t.is_command("approx", "equiv", "to"))
    ]
    values = [_number(side) for side in sides if side]
    found = [v for v in values if v is not None]
    return key_of_fraction(found[-1]) if found else None


def _remainder(number: str | None, modulus: int | None) -> str | None:
    """Return the number of ``7 (mod 13)``; None where it is still to be divided."""
    if number is None or modulus is None or not number.isdecimal() or len(number) > len(str(modulus)):
        return None
    return number if int(number) < modulus else None


def _are_numbers(tokens: Tokens) -> bool:
    return len(tokens) == 2 and all(t.kind == "number" for t in tokens)


def _has_number(tokens: Tokens) -> bool:
    return any(t.kind == "number" for t in tokens)


def _number(tokens: Tokens) -> Fraction | None:
    """Return the number that a side of an equation states, with words around it."""
    tokens = with_magnitudes(without_introduction(tokens))
    try:
        return _literal(formula_of(without_units(tokens)))
    except Unreadable:
        return _among_words(tokens)


def _literal(node: Formula) -> Fraction:
    """Return the number that is written out. Raises Unreadable where something is to be computed."""
    match node.op, node.args:
        case "number", ():
            return node.value
        case "neg", (inner,):
            return -_literal(inner)
        case "div", (above, below) if divisor := _literal(below):
            return _literal(above) / divisor
        case "mul", (first, Formula(op="number") as factor) if factor.value in MAGNITUDES.values():
            return _literal(first) * factor.value
        case "mul", (first, Formula(op="pow", args=(Formula(op="number", value=10), exponent))):
            power = _literal(exponent)
            if abs(power) <= 1000 and power.denominator == 1:
                return _literal(first) * Fraction(10) ** int(power)
    raise Unreadable


def _among_words(tokens: Tokens) -> Fraction | None:
    """Return a number with words before it, and a unit or words after it."""
    at = [i for i, t in enumerate(tokens) if t.kind == "number"]
    if not at or not all(_is_word(t) or t.is_sign(*_BEFORE_NUMBER) for t in tokens[: at[0]]):
        return None
    after = [t for t in tokens[at[0] + 1 :] if not t.is_sign(")", ".", "'")]
    factor = 1
    while after and after[0].text.startswith("magnitude "):
        factor *= int(after.pop(0).text.split()[1])
    if after and not _is_said_after(after):
        return None
    number = exact_number(tokens[at[0]].text)
    is_negative = at[0] > 0 and tokens[at[0] - 1].is_sign("-") and not tokens[at[0]].spaced
    return None if number is None else (-number.value if is_negative else number.value) * factor


def _is_said_after(after: Tokens) -> bool:
    first = after[0]
    if first.is_sign("^", "-", "(", "{") or first.is_command("cdot", "times"):
        return first.is_sign("^") and _is_ordinal(after[1:])
    if (
        first.kind == "letters"
        and len(first.text) == 1
        and not first.spaced
        and first.text not in _UNIT_LETTERS
    ):
        return False  # 2x
    return all(_is_word(t) for t in after) or is_all_unit(after)


def _is_ordinal(tokens: Tokens) -> bool:
    return "".join(t.text for t in tokens).strip("{}") in ("th", "st", "nd", "rd")


def _is_word(token: Token) -> bool:
    return token.kind in ("letters", "words")
