"""Reading an answer: finding the form of a text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

from orchestrator.tasks.grading.brackets import bracketed, matrix
from orchestrator.tasks.grading.forms import Based, Form, Named, Plain, Scalar, Several
from orchestrator.tasks.grading.formula import Formula, Unreadable
from orchestrator.tasks.grading.joining import combined, joined
from orchestrator.tasks.grading.numbers import based_number, exact_number, key_of_fraction, long_number
from orchestrator.tasks.grading.parser import formula_of
from orchestrator.tasks.grading.phrases import clock_of, phrase, without_label
from orchestrator.tasks.grading.relations import relation
from orchestrator.tasks.grading.scalars import form_of
from orchestrator.tasks.grading.scanning import MAX_TOKENS, tokens_of
from orchestrator.tasks.grading.tidy import MAX_LENGTH, tidy
from orchestrator.tasks.grading.tokens import Tokens, split
from orchestrator.tasks.grading.units import with_magnitudes, without_introduction, without_units
from orchestrator.tasks.grading.vocabulary import is_word
from orchestrator.tasks.grading.words import words_form

MAX_NESTING = 6
MAX_BASED = 8
MAX_CARRIED_OUT = 200
# Braces around one sign.
_BRACES = re.compile(r" \{ ([^ {}]{1,40}) \} ?")
_BOMB = re.compile(r"\d{7}|\^\s?\{[^{}^]{0,200}\^")
_CARRIED_OUT = re.compile(r"\\(?:int|sum|prod|lim|iint|oint)(?![A-Za-z])|\\frac\s?\{\s?d\s?\}")


def read_form(answer: str) -> Form:
    """Return the form of an answer; a plain text where it has no known form. Never raises."""
    if len(answer) <= MAX_LENGTH:
        return _read(answer)
    text = tidy(answer)
    return Plain(long_number(text) or text)


@lru_cache(maxsize=4096)
def _read(answer: str) -> Form:
    text = tidy(answer)
    if (exact := exact_number(text)) is not None:
        return Scalar(key_of_fraction(exact.value), exact.value, exact.places)
    if (based := based_number(text)) is not None:
        return Based(*based)
    if (digits := long_number(text)) is not None:
        return Plain(digits)
    tokens = tokens_of(text)
    try:
        return form_of_tokens(tokens)
    except Unreadable:
        return plain(text, tokens)
    except Exception:  # noqa: BLE001 - one answer that cannot be read must not end a run
        return plain(text, tokens)


def form_of_tokens(tokens: Tokens) -> Form:
    """Return the form of all the tokens. Raises Unreadable."""
    if len(tokens) > MAX_TOKENS:
        raise Unreadable
    if len(tokens) <= MAX_BASED and (based := based_number("".join(t.text for t in tokens))) is not None:
        return Based(*based)
    return _answer(tokens, 0)


def is_carried_out(answer: str) -> bool:
    """Return whether an answer is an integral, a sum or a limit that a process should compute."""
    if len(answer) > MAX_CARRIED_OUT or _BOMB.search(answer):
        return False
    return _CARRIED_OUT.search(answer) is not None


def rank(form: Form) -> tuple[bool, bool, Fraction, int, str]:
    """Return the order in which forms found classes: exact numbers, decimals, the rest, short ones first.

    Among the rest, forms that equal others in any order, or under any name, come first.
    """
    if isinstance(form, Scalar) and form.near is not None:
        return (False, form.places is not None, form.near, 0, form.name)
    is_strict = isinstance(form, Named) or (
        isinstance(form, Several) and form.kind in ("()", "open", "vector")
    )
    return (True, is_strict, Fraction(0), len(form.name), form.name)


def plain(text: str, tokens: Tokens = ()) -> Plain:
    """Return a text that only equals itself, apart from spaces and styles."""
    if not tokens or len(tokens) > MAX_TOKENS:
        return Plain("".join(text.split()))
    texts = [t.text.casefold() if t.kind == "words" or is_word(t.text) else t.text for t in tokens]
    return Plain(" ".join(_BRACES.sub(r" \1 ", " ".join(texts)).split()))


def _answer(tokens: Tokens, nesting: int) -> Form:
    """Read any answer. Raises Unreadable."""
    if nesting > MAX_NESTING:
        raise Unreadable
    tokens = _trimmed(tokens)
    if not tokens:
        raise Unreadable
    if tokens[-1].kind == "number" and (len(tokens) == 1 or (len(tokens) == 2 and tokens[0].is_sign("-"))):
        return _scalar(tokens)

    def read(inner: Tokens) -> Form:
        return _answer(inner, nesting + 1)

    said = phrase(tokens, read) or words_form(tokens) or clock_of(tokens)
    return said if said is not None else _statement(tokens, nesting, read)


def _statement(tokens: Tokens, nesting: int, read: Callable[[Tokens], Form]) -> Form:
    """Read several answers, a relation or a value."""
    if tokens[0].is_sign("<") and tokens[-1].is_sign(">"):
        return _value(tokens, nesting)
    for joint in ("or", "and", ","):
        parts = split(tokens, joint)
        if len(parts) > 1:
            return joined([p for p in parts if p], joint, read)
    related = relation(tokens, read)
    return related if related is not None else _value(tokens, nesting)


def _trimmed(tokens: Tokens) -> Tokens:
    tokens = without_label(without_introduction(tokens))
    while tokens and tokens[-1].is_sign(",", ".", "&"):
        tokens = tokens[:-1]
    while len(tokens) > 2 and tokens[0].is_sign("{") and tokens[-1].is_sign("}") and _is_one_group(tokens):
        tokens = tokens[1:-1]
    return tokens


def _is_one_group(tokens: Tokens) -> bool:
    depth = 0
    for index, token in enumerate(tokens):
        depth += token.is_sign("{") - token.is_sign("}")
        if depth == 0:
            return index == len(tokens) - 1
    return False


def _value(tokens: Tokens, nesting: int) -> Form:
    """Read a value, or values in brackets."""
    for joint in ("cup", "setminus", "cap"):
        parts = split(tokens, joint)
        if len(parts) > 1:
            return combined([_answer(part, nesting + 1) for part in parts], joint)
    if (removed := _removed(tokens, nesting)) is not None:
        return removed
    tokens = without_units(with_magnitudes(tokens))
    if len(ratio := split(tokens, ":")) > 2:
        return _ratio_of(ratio)

    def read(inner: Tokens) -> Form:
        return _answer(inner, nesting + 1)

    found = bracketed(tokens, read)
    if found is None:
        found = matrix(tokens, read)
    return found if found is not None else _scalar(tokens)


def _scalar(tokens: Tokens) -> Form:
    form = form_of(formula_of(tokens))
    signed = tokens[1:] if tokens[0].is_sign("-", "+") else tokens
    if isinstance(form, Scalar) and len(signed) == 1 and signed[0].kind == "number":
        exact = exact_number(signed[0].text)
        return Scalar(form.key, form.near, exact.places if exact is not None else None)
    return form


def _ratio_of(parts: Sequence[Tokens]) -> Form:
    """Read ``1:2:3``, which equals 2:4:6."""
    first, *others = map(formula_of, parts)
    return Several("ratio", tuple(form_of(Formula("div", (other, first))) for other in others))


def _removed(tokens: Tokens, nesting: int) -> Form | None:
    r"""Read ``\mathbb{R} - \{3\}``; None for another text."""
    if len(tokens) > 3 and tokens[0].is_command("mathbb R") and tokens[1].is_sign("-"):
        return combined([_answer(tokens[:1], nesting + 1), _answer(tokens[2:], nesting + 1)], "setminus")
    return None
