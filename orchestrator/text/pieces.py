"""The steps of a text that a function has returned, by what ends a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from orchestrator.steps.cutting import first_end, split
from orchestrator.steps.rule import StepEnds
from orchestrator.text.tokens import cut, encoded
from orchestrator.types import Carried, Finish, Step


def first_of(text: str, ends: StepEnds, most: int, *, ended: bool) -> Step:
    """Return the first step of at most ``most`` tokens; what follows it is carried.

    A text in which nothing ends a step is one. ``ended``: it is the last one of the solution.
    """
    kept = cut(text, most)
    end = _first_end(kept, ends)
    if end is not None:
        token_ids = encoded(kept[:end])
        return Step(kept[:end], token_ids, carried=_carried(cut(kept[end:], most - len(token_ids))))
    token_ids = encoded(kept)
    is_cut = kept != text or (not ended and most <= len(token_ids) != ends.tokens)
    finish = Finish.LENGTH if is_cut else Finish.EOS if ended else Finish.STEP
    return Step(kept, token_ids, finish=finish)


def ends_in(text: str, ends: StepEnds) -> bool:
    """Return whether a text holds the end of its first step."""
    return _first_end(text, ends) is not None


def all_of(text: str, ends: StepEnds, most: int) -> Iterator[Step]:
    """Yield the steps of a whole solution, of at most ``most`` tokens all together."""
    texts, left = list(split(text, ends, _fits(ends))) or [""], most
    for number, each in enumerate(texts, start=1):
        token_ids = encoded(each)
        if len(token_ids) > left:
            kept = cut(each, left)
            yield Step(kept, encoded(kept), finish=Finish.LENGTH)
            return
        yield Step(each, token_ids, finish=Finish.EOS if number == len(texts) else Finish.STEP)
        left -= len(token_ids)


def _first_end(text: str, ends: StepEnds) -> int | None:
    return first_end(text, ends, _fits(ends))


def _fits(ends: StepEnds) -> Callable[[str], int] | None:
    tokens = ends.tokens
    return None if tokens is None else lambda text: len(cut(text, tokens))


def _carried(text: str) -> Carried | None:
    token_ids = encoded(text)
    return Carried(token_ids, (0.0,) * len(token_ids)) if token_ids else None
