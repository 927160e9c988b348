"""Times of day, and ratios that look like one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.grading_forms import Clock, Form
from orchestrator.grading_formula import Unreadable
from orchestrator.grading_parser import formula_of
from orchestrator.grading_scalars import form_of
from orchestrator.grading_tokens import Token, Tokens

_WHOLE = re.compile(r"(\d{1,2}) ?o'? ?clock", re.IGNORECASE)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)|(\d{1,2})")


def clock_of(tokens: Tokens) -> Form | None:
    """``3:30``, ``3:30 p.m.``, ``3 pm``, ``3 o'clock``; None for another text."""
    if (match := _WHOLE.fullmatch("".join(t.text for t in tokens[:5]))) and int(match[1]) <= 12:
        return Clock(int(match[1]), 0, None, _ratio(tokens[:1]))
    *before, last = tokens
    half = "".join(c for c in last.text.lower() if c.isalpha()) if last.kind == "words" else ""
    texts = before if half in ("am", "pm") else list(tokens)
    match = _CLOCK.fullmatch("".join(t.text for t in texts)) if len(texts) <= 3 else None
    if match is None or (match[3] and half not in ("am", "pm")):
        return None
    hours, minutes = int(match[1] or match[3]), int(match[2] or 0)
    if hours > 24 or minutes > 59:
        return None
    known = half if half in ("am", "pm") else None
    return Clock(hours, minutes, known, None if known or (match[2] or "")[:1] == "0" else _ratio(texts))


def _ratio(tokens: Sequence[Token]) -> Form | None:
    try:
        return form_of(formula_of(tokens))
    except Unreadable:
        return None
