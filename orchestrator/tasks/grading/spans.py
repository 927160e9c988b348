r"""Intervals and their unions: ``x < 2 or x > 5``, ``(-\infty, 2) \cup (5, \infty)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from orchestrator.tasks.grading.forms import Form, Kind, Named, Scalar, Several

INFINITY = Scalar("oo")
MINUS_INFINITY = Scalar("-oo")
_BRACKETS: dict[tuple[bool, bool], Kind] = {
    (False, False): "open", (True, False): "[)", (False, True): "(]", (True, True): "[]",
}  # fmt: skip
_CLOSED = {kind: closed for closed, kind in _BRACKETS.items()} | {"()": (False, False)}


@dataclass(frozen=True)
class Span:
    """All numbers from ``low`` to ``high``; a point where they are the same."""

    low: Scalar
    high: Scalar
    has_low: bool
    has_high: bool

    @property
    def is_empty(self) -> bool:
        low, high = place_of(self.low), place_of(self.high)
        return low > high or (low == high and not (self.has_low and self.has_high))

    @property
    def form(self) -> Form:
        if self.low == self.high:
            return self.low
        return Several(_BRACKETS[self.has_low, self.has_high], (self.low, self.high))


EVERYTHING = Span(MINUS_INFINITY, INFINITY, has_low=False, has_high=False)


def place_of(end: Scalar) -> tuple[int, Fraction]:
    """Return the place of an end, for comparing."""
    if end.near is not None:
        return (0, end.near)
    return (1 if end.key == "oo" else -1, Fraction(0))


def is_end(form: Form) -> bool:
    return isinstance(form, Scalar) and (form.near is not None or form in (INFINITY, MINUS_INFINITY))


def spans_of(form: Form) -> list[Span] | None:
    """Return the intervals and points that a form is made of; None where it is something else."""
    match form:
        case Named():
            return spans_of(form.value)
        case Scalar() if form.near is not None:
            return [Span(form, form, has_low=True, has_high=True)]
        case Several(kind="union" | "set"):
            parts = [spans_of(item) for item in form.items]
            return [s for part in parts for s in part or []] if all(p is not None for p in parts) else None
        case Several(items=(Scalar() as low, Scalar() as high)) if form.kind in _CLOSED:
            if not (is_end(low) and is_end(high)) or place_of(low) > place_of(high):
                return None
            return [Span(low, high, *_CLOSED[form.kind])]
    return None


def union(spans: Sequence[Span]) -> Form:
    """Return one form for all that is in any of ``spans``."""
    merged: list[Span] = []
    for span in sorted((s for s in spans if not s.is_empty), key=lambda s: (place_of(s.low), not s.has_low)):
        if merged and _touch(merged[-1], span):
            merged[-1] = _joined(merged[-1], span)
        else:
            merged.append(span)
    if len(merged) == 1:
        return merged[0].form
    return Several("union", tuple(s.form for s in merged)) if merged else Several("set", ())


def _touch(first: Span, second: Span) -> bool:
    end, begin = place_of(first.high), place_of(second.low)
    return begin < end or (begin == end and (first.has_high or second.has_low))


def _joined(first: Span, second: Span) -> Span:
    last = max((first, second), key=lambda s: (place_of(s.high), s.has_high))
    has_low = first.has_low or (second.has_low and place_of(first.low) == place_of(second.low))
    return replace(first, high=last.high, has_high=last.has_high, has_low=has_low)


def intersection(first: Sequence[Span], second: Sequence[Span]) -> list[Span]:
    """Return what is in both."""
    both = [_common(a, b) for a in first for b in second]
    return [span for span in both if not span.is_empty]


def _common(a: Span, b: Span) -> Span:
    low = max((a, b), key=lambda s: (place_of(s.low), not s.has_low))
    high = min((a, b), key=lambda s: (place_of(s.high), s.has_high))
    return Span(low.low, high.high, low.has_low, high.has_high)


def complement(spans: Sequence[Span]) -> list[Span]:
    """Return all real numbers but these."""
    rest = [EVERYTHING]
    for span in spans:
        below = Span(MINUS_INFINITY, span.low, has_low=False, has_high=not span.has_low)
        above = Span(span.high, INFINITY, has_low=not span.has_high, has_high=False)
        rest = intersection(rest, [below, above])
    return rest
