"""One request to vLLM: its stop conditions, and how its tokens become steps.

The stop conditions only make vLLM stop early enough; ``stepping`` decides where a step ends, as elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.text.stepping import Detokenizer
from actors.text.tokens import TokenIds
from orchestrator.protocols import Completion, GenerateRequest
from orchestrator.seeds import derive_seed
from orchestrator.splitting import StepSplitter
from orchestrator.steps.cutting import INCOMPLETE
from orchestrator.steps.rule import StepEnds
from orchestrator.types import Usage


@dataclass(frozen=True, slots=True)
class StopRules:
    """The stop conditions of what ends a step.

    ``stop_token_ids`` are the tokens whose text holds the delimiter: vLLM checks them where it samples, and
    computes no further token. A delimiter of several tokens, and a marker, is found in the text, which vLLM
    checks in another process, one token later. ``can_end`` ``[vocab_size]`` is as in ``Detokenizer``.
    """

    ends: StepEnds
    stop_token_ids: tuple[int, ...]
    eos_ids: tuple[int, ...]
    needs_text: bool
    can_end: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, detokenizer: Detokenizer, ends: StepEnds) -> StopRules:
        delimiter = ends.delimiter or ""
        holding = [i for i, piece in enumerate(detokenizer.pieces) if delimiter and delimiter in piece]
        whole = [i for i in holding if INCOMPLETE not in detokenizer.pieces[i]]
        # One ASCII character is never split over tokens; a decoder may drop a space.
        is_character = len(delimiter) == 1 and delimiter.isascii() and delimiter != " "
        return cls(
            ends=ends,
            stop_token_ids=tuple(whole),
            eos_ids=tuple(sorted(detokenizer.eos_ids)),
            needs_text=bool(ends.texts)
            and not (ends.texts == (delimiter,) and is_character and whole == holding),
            can_end=detokenizer.can_end(ends),
        )

    @property
    def at_delimiter(self) -> dict[str, Any]:
        """The stop conditions for the end of this step."""
        stop_token_ids = [*self.stop_token_ids, *self.eos_ids]
        if self.needs_text:
            return {"stop": [*self.ends.texts], "stop_token_ids": stop_token_ids}
        return {"stop_token_ids": stop_token_ids, "detokenize": False}

    @property
    def at_end(self) -> dict[str, Any]:
        """The stop conditions for the end of the text."""
        return {"stop_token_ids": [*self.eos_ids], "detokenize": False}

    def at_marker(self, marker: str) -> dict[str, Any]:
        """Return the stop conditions for ``marker`` or the end of the text."""
        return {"stop": [marker], "stop_token_ids": [*self.eos_ids]}


@dataclass(frozen=True, slots=True)
class End:
    """The model ended its text; ``token`` is what the server named as the end, if anything."""

    token: int | str | None = None


@dataclass(slots=True)
class Generation:
    """One request in progress: one stretch of tokens from vLLM, or several where there is a marker.

    With ``to_end`` and a marker the first stretch ends at the marker, and a second one runs to the end of
    that step; two more follow if that step does not answer. Each stretch has another seed. What the request
    carries is ``generated`` from the beginning.
    """

    request: GenerateRequest
    prefix: TokenIds
    room: int
    rules: StopRules
    splitter: StepSplitter
    generated: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    is_done: bool = False
    num_stretches: int = 0
    num_cached: int = 0
    num_computed: int = 0

    @classmethod
    def of(
        cls, request: GenerateRequest, prefix: TokenIds, max_context: int, rules: StopRules, text: Detokenizer
    ) -> Generation:
        """Return the beginning of a request's text, which may be all of it already (``is_done``)."""
        splitter, room = StepSplitter(request, text, prefix), max_context - len(prefix)
        made = cls(request, prefix, room, rules, splitter)
        made.add(request.begun.token_ids, request.begun.logprobs)
        return made

    @property
    def token_ids(self) -> list[int]:
        return [*self.prefix, *self.generated]

    @property
    def num_known(self) -> int:
        """How many tokens precede the first one that is generated for this request."""
        return len(self.prefix) + len(self.request.begun.token_ids)

    @property
    def ends_step(self) -> bool:
        """Whether the next stretch has to end with the open step, if not before."""
        marker = self.request.answer_marker
        return not self.request.to_end or (
            marker is not None and marker in self.splitter.recent_text(self.generated)
        )

    @property
    def num_left(self) -> int:
        """The most tokens of the next stretch."""
        left, tokens = self.limit - len(self.generated), self.splitter.ends.tokens
        if tokens is None or not self.ends_step:
            return left
        return min(left, tokens - self.splitter.num_open(self.generated))

    @property
    def limit(self) -> int:
        """How many tokens may be generated in total."""
        return min(self.request.params.max_tokens, self.room)

    @property
    def seed(self) -> int:
        if self.num_stretches == 0:
            return self.request.seed
        return derive_seed(self.request.seed, "stretch", self.num_stretches)

    @property
    def stops(self) -> dict[str, Any]:
        if self.ends_step:
            return self.rules.at_delimiter
        marker = self.request.answer_marker
        return self.rules.at_end if marker is None else self.rules.at_marker(marker)

    def take(
        self, token_ids: Sequence[int], logprobs: Sequence[float], num_cached: int, end: End | None = None
    ) -> None:
        """Add a stretch, and split what is there into steps; what follows the end is dropped.

        ``end``: the text ends with its last token, whether or not that token is known to end texts.
        """
        self.count(len(token_ids), num_cached, num_known=len(self.generated))
        self.add(token_ids, logprobs, end)

    def add(self, token_ids: Sequence[int], logprobs: Sequence[float], end: End | None = None) -> int:
        """Add tokens up to the end, if it is among them. Return how many were added."""
        for i, (token_id, logprob) in enumerate(zip(token_ids, logprobs, strict=True), 1):
            self.generated.append(token_id)
            self.logprobs.append(logprob)
            if self._ends(end if i == len(token_ids) else None):
                self.is_done = True
                return i
        return len(token_ids)

    def end_of(
        self, token_ids: Sequence[int], stops: Mapping[str, Any], named: Sequence[int | str | None]
    ) -> End | None:
        """Return the end of the text, where that is what stopped a stretch requested with ``stops``.

        ``named`` is what the server names as the stop. A server that names nothing, or None, may still have
        stopped where requested: then the last token is, or completes, one of ``stops``.
        """
        texts, ids = (
            stops.get("stop", ()),
            [i for i in stops["stop_token_ids"] if i not in self.rules.eos_ids],
        )
        known = [name for name in named if name is not None]
        if known:
            # A server may have further stops: one that ends steps here does not end a text either.
            requested = {*texts, *ids, *map(str, ids), self.request.delimiter}
            return None if any(name in requested for name in known) else End(known[0])
        if token_ids[-1] in ids:
            return None
        before, whole = ([*self.generated, *token_ids[:n]] for n in (-1, len(token_ids)))
        text, text_before = self.splitter.open_text(whole), self.splitter.open_text(before)
        return None if any(t in text and t not in text_before for t in texts) else End()

    def count(self, num_tokens: int, num_cached: int, *, num_known: int) -> None:
        """Count a stretch of ``num_tokens`` after the prefix and ``num_known`` generated tokens."""
        if self.num_stretches == 0:
            self.num_cached = num_cached
        self.num_computed += len(self.prefix) + num_known - num_cached + num_tokens - 1
        self.num_stretches += 1

    def count_found(self, num_tokens: int) -> None:
        """Count ``num_tokens`` of a text that had computed everything before them."""
        if self.num_stretches == 0:
            self.num_cached = self.num_known
        self.num_computed += num_tokens
        self.num_stretches += 1

    def _ends(self, end: End | None) -> bool:
        """Whether the last token completes the request."""
        num = len(self.generated)
        at_limit = num >= self.limit and end is None
        may_end = self.splitter.held_back or self.rules.can_end[self.generated[-1]]
        if not (at_limit or end or may_end or self.splitter.full_at == num):
            return False
        no_room = len(self.generated) >= self.room
        done = self.splitter.advance(self.generated, self.logprobs, at_limit=at_limit, no_room=no_room)
        if end is not None and not done:
            self.splitter.end(self.generated, self.logprobs, end.token)
        return done or end is not None

    def completion(self, flops_per_token: float, *, has_logprobs: bool) -> Completion:
        usage = Usage(
            generated_tokens=len(self.generated) - len(self.request.begun.token_ids),
            prompt_tokens=self.num_known,
            cached_tokens=min(self.num_cached, self.num_known),
            flops=flops_per_token * self.num_computed,
        )
        steps = (
            self.splitter.steps if has_logprobs else [replace(s, logprob=None) for s in self.splitter.steps]
        )
        return Completion(tuple(steps), usage)


def logprobs_of(choice: Any) -> list[float]:
    """Return the log-probability of each token of vLLM's reply at temperature 1; 0 where not requested."""
    if choice.logprobs is None:
        return [0.0] * len(choice.token_ids)
    return [entry[token].logprob for token, entry in zip(choice.token_ids, choice.logprobs, strict=True)]
