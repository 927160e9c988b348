"""Expressions against Python's own, text by text, and what cannot be used."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.steps.expression import MOST_PLACES, Expression, ExpressionError

PATTERNS = [
    r"\n+(Wait|Hmm)", r"a{2,3}b?c", r"(ab|a)(bc|c)?x", r"(?i)wait[,.]?", r"a(b*c|d){1,2}e", r"[^a]b",
    r"(a|b)*c", r"a+?b", r"x{0}ab", r"(a?){3}a{3}", r"a{,2}b", r"]a}", r"(a|)b(c|)d", r"\x61\u0062|\.",
    r".\W", "(?s)a.b",
]  # fmt: skip
TEXTS = st.text(st.sampled_from("abcxdeWHwaitm\n,. A}]"), max_size=12)


def first(pattern: str, text: str) -> tuple[int, int] | None:
    """The match that ends first, and begins first among those: every part of the text is tried."""
    known = re.compile(pattern)
    spans = ((start, end) for end in range(1, len(text) + 1) for start in range(end))
    return next((span for span in spans if known.fullmatch(text, *span)), None)


@given(pattern=st.sampled_from(PATTERNS), text=TEXTS)
def test_it_finds_what_re_finds(pattern: str, text: str) -> None:
    expression = Expression(pattern)
    found = expression.find(text)
    assert found == first(pattern, text)
    if found is not None:
        assert found[1] - found[0] <= expression.width
        assert expression.can_end_with(text[found[1] - 1])


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("a*", "must not match an empty text"),
        ("", "must not match an empty text"),
        ("(", r"is not a regular expression: missing \)"),
        (r"\bWait", r"must not look around: it holds '\\\\b'"),
        ("a^b", r"must not look around: it holds '\^'"),
        ("(?=a)b", r"must have no groups but .* it holds '\(\?=a'"),
        (r"(a)\1", "must not look around"),
        ("a++b", "possessive"),
        ("(a+)+b", f"must have at most {MOST_PLACES} characters, each repetition counted"),
        ("a{5000}", f"must have at most {MOST_PLACES} characters"),
    ],
)
def test_what_cannot_be_used_is_refused(pattern: str, allowed: str) -> None:
    with pytest.raises(ExpressionError, match=allowed):
        Expression(pattern)


def test_an_expression_that_takes_re_for_ever_takes_no_time() -> None:
    """``re`` tries 2**30 ways to match this."""
    begun = time.process_time()
    assert Expression("(a?){30}a{30}b").find("a" * 200) is None
    assert time.process_time() - begun < 2.0
