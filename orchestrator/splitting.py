"""From the tokens of a request to its steps, which end on token boundaries, while they are generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from msgspec import UnsetType

from orchestrator.protocols import LOOK_BACK, GenerateRequest
from orchestrator.steps.cutting import OpenStep
from orchestrator.steps.rule import StepEnds
from orchestrator.types import Carried, Finish, Step

TokenIds = tuple[int, ...]

CONTEXT = 4
"""How many tokens before a text its decoder is given: it may treat the first one differently (a space)."""


class Texts(Protocol):
    """What turns tokens into text; ``actors.text.stepping.Detokenizer`` is one."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """The tokens that end a text."""
        ...

    def can_end(self, ends: StepEnds) -> Any:
        """Return, by token, whether a step may end after it, ``[vocab_size]``."""
        ...

    def text(self, token_ids: TokenIds, context: TokenIds) -> str:
        """Return the text that ``token_ids`` add to a text that ends with the tokens ``context``."""
        ...


@dataclass(slots=True)
class StepSplitter:
    """Splits one request's tokens into steps while they are generated.

    What was ``generated`` begins with the tokens that the request carries.
    """

    request: GenerateRequest
    detokenizer: Texts
    prompt_ids: TokenIds
    ends: StepEnds = field(init=False)
    steps: list[Step] = field(default_factory=list)
    _begun: int = 0
    _last_text: str = ""
    _open: OpenStep = field(init=False)

    def __post_init__(self) -> None:
        self.ends = self.request.ends
        self._open = OpenStep(self.ends)

    @property
    def held_back(self) -> bool:
        """Whether the text has a delimiter but ends in a part of a character."""
        return self._open.held_back

    @property
    def full_at(self) -> int | None:
        """After how many generated tokens the open step is full; None: never."""
        return None if self.ends.tokens is None else self._begun + self.ends.tokens

    def looks_at(self, num_generated: int, token: int) -> bool:
        """Return whether ``advance`` is required after this token, if the limit is not reached."""
        may_end = self.detokenizer.can_end(self.ends)[token]
        return bool(may_end) or self.held_back or self.full_at == num_generated

    def advance(
        self, generated: Sequence[int], logprobs: Sequence[float], *, at_limit: bool, no_room: bool = False
    ) -> bool:
        """Check all that was ``generated``; the last token is new. Return whether the request is done.

        Only required after a token that ``Detokenizer.can_end`` names, at the limit, while ``held_back``, and
        where the step is full. ``no_room``: the limit is that of the model's context, so that nothing can
        follow.
        """
        num = len(generated)
        if generated[-1] in self.detokenizer.eos_ids:
            token_ids = tuple(generated[self._begun :])
            self._close(token_ids, self._text(token_ids[:-1], generated), logprobs, Finish.EOS)
            return True
        end = self._open.end(lambda n: self._first(n, generated), num - self._begun)
        while end is not None:
            if self._ends_with(end, generated[:num], logprobs, at_limit=at_limit, no_room=no_room):
                return True
            end = self._next_end(generated)
        if at_limit and self._begun < num:
            token_ids = tuple(generated[self._begun :])
            self._close(token_ids, self._text(token_ids, generated), logprobs, Finish.LENGTH)
        return at_limit

    def replay(self, carried: Carried, *, limit: int, room: int) -> bool:
        """Check the tokens that were generated before; return whether they are all that is requested."""
        ids = carried.token_ids[:limit]
        for num in range(1, len(ids) + 1):
            at_limit = num == limit
            if (at_limit or self.looks_at(num, ids[num - 1])) and self.advance(
                ids[:num], carried.logprobs[:num], at_limit=at_limit, no_room=num >= room
            ):
                return True
        return False

    def _ends_with(
        self,
        num_tokens: int,
        generated: Sequence[int],
        logprobs: Sequence[float],
        *,
        at_limit: bool,
        no_room: bool,
    ) -> bool:
        """Close the open step after ``num_tokens``; what follows is carried on. Return whether it is done."""
        token_ids = tuple(generated[self._begun : self._begun + num_tokens])
        text, rest = self._text(token_ids, generated), tuple(generated[self._begun + num_tokens :])
        answers = self.request.answered_by(text, self._last_text)
        # The limit is at the end of a step, but before the requested end, or nothing can follow.
        cut = at_limit and not rest and not answers and (self.request.to_end or no_room)
        done = answers or not self.request.to_end
        carried = Carried(rest, tuple(logprobs[len(generated) - len(rest) : len(generated)]))
        finish = Finish.LENGTH if cut else Finish.STEP
        self._close(token_ids, text, logprobs, finish, carried if rest and done else None)
        return done or (at_limit and not rest)

    def _next_end(self, generated: Sequence[int]) -> int | None:
        """Return the end of the step that now is open, from tokens that were looked at for the one before."""
        for num in range(1, len(generated) - self._begun + 1):
            end = self._open.end(lambda n: self._first(n, generated), num)
            if end is not None:
                return end
        return None

    def end(self, generated: Sequence[int], logprobs: Sequence[float], token: int | str | None) -> None:
        """End the text, by a token that need not be in ``eos_ids``: ``token`` where it is known."""
        token_ids = tuple(generated[self._begun :])
        if not token_ids and self.steps:
            self.steps[-1] = replace(self.steps[-1], finish=Finish.EOS)
            return
        said = token_ids[:-1] if token_ids and token_ids[-1] == token else token_ids
        self._close(token_ids, self._text(said, generated), logprobs, Finish.EOS)

    def open_text(self, generated: Sequence[int]) -> str:
        """Return the text of what was ``generated`` after the last complete step."""
        return self._text(tuple(generated[self._begun :]), generated)

    def recent_text(self, generated: Sequence[int]) -> str:
        """Return the text in which an answer may have begun that the open step states."""
        if self.ends == StepEnds(self.request.delimiter):
            return self.open_text(generated)
        before = "" if isinstance(self.request.before, UnsetType) else self.request.before
        return (before + self._last_text)[-LOOK_BACK:] + self.open_text(generated)

    def num_open(self, generated: Sequence[int]) -> int:
        """Return how many tokens the open step has."""
        return len(generated) - self._begun

    def _first(self, num_tokens: int, generated: Sequence[int]) -> str:
        """Return the text of the open step's first tokens."""
        return self._text(tuple(generated[self._begun : self._begun + num_tokens]), generated)

    def _text(self, token_ids: TokenIds, generated: Sequence[int]) -> str:
        before = tuple(generated[max(0, self._begun - CONTEXT) : self._begun])
        return self.detokenizer.text(token_ids, (*self.prompt_ids[-CONTEXT:], *before)[-CONTEXT:])

    def _close(
        self,
        token_ids: TokenIds,
        text: str,
        logprobs: Sequence[float],
        finish: Finish,
        carried: Carried | None = None,
    ) -> None:
        logprob = float(sum(logprobs[self._begun : self._begun + len(token_ids)]))
        self.steps.append(Step(text, token_ids, logprob, finish=finish, carried=carried))
        self._last_text = (self._last_text + text)[-LOOK_BACK:]
        self._begun += len(token_ids)
        self._open = OpenStep(self.ends)
