"""Answers in words that are not formulas."""

from __future__ import annotations

import re
from fractions import Fraction

from orchestrator.tasks.grading.forms import Form, Several, Words
from orchestrator.tasks.grading.scalars import scalar_of
from orchestrator.tasks.grading.spans import EVERYTHING, INFINITY, MINUS_INFINITY
from orchestrator.tasks.grading.tokens import Tokens
from orchestrator.tasks.grading.vocabulary import FUNCTIONS, GREEK, MAGNITUDES, NUMBER_WORDS

_EVERYTHING = frozenset(("all real numbers", "all reals", "the real numbers", "real numbers", "reals"))
_NOTHING = frozenset(("no solution", "no solutions", "empty set", "the empty set", "null set"))
_INFINITIES = {"infinity": INFINITY, "positive infinity": INFINITY, "negative infinity": MINUS_INFINITY}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_ARTICLE = re.compile(r"^(?:an?|the) (?=\w{3})")
_APPLIED = re.compile(r"(?:arc)?(?:sin|cos|tan|cot|sec|csc|ln|log|sqrt)[xy]")
_NAMES = FUNCTIONS | GREEK | frozenset(("pi", "infinity", "inf", "oo", "infty", "Abs"))
_SIGNS_OF_WORDS = ("-", "'", ".", "!", "?", ":", '"', "/", "(", ")", "_", "{", "}")


def words_form(tokens: Tokens) -> Form | None:
    """Return the words that the tokens are; None where they are a formula."""
    if not all(t.kind in ("letters", "words") or t.is_sign(*_SIGNS_OF_WORDS) for t in tokens):
        return None
    runs = [t.text for t in tokens if t.kind == "letters"]
    if not any(t.kind == "words" for t in tokens) and all(is_product(run) for run in runs):
        return None
    if any(run in _NAMES for run in runs) and len(runs) + 1 < len(tokens):
        return None
    text = plain_words("".join(f" {t.text}" if t.spaced or t.kind == "words" else t.text for t in tokens))
    if text in _EVERYTHING:
        return EVERYTHING.form
    if text in _NOTHING:
        return Several("set", ())
    if (value := _number_in(text)) is not None:
        return scalar_of(value)
    if text in _INFINITIES:
        return _INFINITIES[text]
    return Words(_ARTICLE.sub("", text)) if text else None


def _number_in(text: str) -> Fraction | None:
    """Read ``seven``, ``twenty one``, ``a hundred thousand``, ``two thirds``."""
    words = text.split()
    if len(words) == 2 and words[0] in NUMBER_WORDS and (below := _PARTS.get(words[1].rstrip("s"))):
        return Fraction(NUMBER_WORDS[words[0]], below)
    factor = 1
    while len(words) > 1 and words[-1] in MAGNITUDES:
        factor *= MAGNITUDES[words.pop()]
    counted = " ".join(words)
    if counted == "a" and factor > 1:
        return Fraction(factor)
    return Fraction(NUMBER_WORDS[counted] * factor) if counted in NUMBER_WORDS else None


def plain_words(text: str) -> str:
    """Return words in one case, without signs: ``(C)`` is ``c``."""
    return " ".join("".join(c if c.isalnum() else "" if c in ".'" else " " for c in text).casefold().split())


def is_product(run: str) -> bool:
    """Return whether letters are variables that are multiplied, not a word: ``xy``, but not ``no``."""
    if len(run) == 1 or run in _NAMES or _APPLIED.fullmatch(run):
        return True
    letters = set(run)
    if not run.islower() or len(run) > 4:
        return False
    if letters <= set("abcxyz"):
        return True
    return not letters & set("aeiou") and len(run) <= 3 and (run != "my" and run != "by")
