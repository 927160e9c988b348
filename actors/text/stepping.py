"""From token ids to text, and from text to steps, which end on token boundaries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.text.tokens import TokenIds
from orchestrator.protocols import GenerateRequest
from orchestrator.types import Finish, Step

# What a decoder writes for bytes that are not yet a whole character.
INCOMPLETE = "\ufffd"
# A decoder may treat the first token of a text differently (a leading space): it gets this many before it.
_CONTEXT = 4


class Detokenizer:
    """Text of token ids, without special tokens. ``eos_ids`` are the tokens that end a text.

    ``pieces`` are the texts of single tokens, by their ids.
    """

    def __init__(self, tokenizer: Any, vocab_size: int, eos_ids: frozenset[int]) -> None:
        self.eos_ids = eos_ids
        self._tokenizer = tokenizer
        self.pieces = [self._decode((i,)) if i < len(tokenizer) else "" for i in range(vocab_size)]
        self._joins = _joins_pieces(tokenizer)
        self.can_end = lru_cache(maxsize=64)(self._can_end)

    def text(self, token_ids: TokenIds, context: TokenIds) -> str:
        """Return the text that ``token_ids`` add to a text that ends with the tokens ``context``."""
        if self._joins:
            return "".join([self.pieces[i] for i in token_ids])
        context = context[-_CONTEXT:]
        before, whole = self._decode(context), self._decode(context + token_ids)
        return whole[len(before) :] if whole.startswith(before) else self._decode(token_ids)

    def _can_end(self, delimiter: str) -> npt.NDArray[np.bool_]:
        """Tokens after which a step may end, ``[vocab_size]``: after others the text need not be checked.

        The token that completes a delimiter holds its last character, or a part of it.
        """
        last = delimiter[-1:]
        # A decoder may drop spaces around a single token, so a token that shows none may still hold one.
        table = [last == " " or last in p or INCOMPLETE in p or not p for p in self.pieces]
        table_array = np.array(table, dtype=np.bool_)
        table_array[[i for i in self.eos_ids if i < len(table)]] = True
        return table_array

    def _decode(self, token_ids: TokenIds) -> str:
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


def _joins_pieces(tokenizer: Any) -> bool:
    """Whether a text is the texts of its tokens, one after the other (character tokenizers)."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    decoder = json.loads(backend.to_str())["decoder"]
    return decoder is not None and decoder["type"] == "Fuse"


@dataclass(slots=True)
class StepSplitter:
    """Splits one request's tokens into steps while they are generated."""

    request: GenerateRequest
    detokenizer: Detokenizer
    prompt_ids: TokenIds
    steps: list[Step] = field(default_factory=list)
    held_back: bool = False
    _begun: int = 0

    def advance(
        self, generated: Sequence[int], logprobs: Sequence[float], *, at_limit: bool, no_room: bool = False
    ) -> bool:
        """Check all that was ``generated``; the last token is new. Return whether the request is done.

        Only required after a token that ``Detokenizer.can_end`` names, at the limit, and while ``held_back``:
        the text has a delimiter but ends in a part of a character.
        ``no_room``: the limit is that of the model's context, so that nothing can follow.
        """
        token_ids = tuple(generated[self._begun :])
        if token_ids[-1] in self.detokenizer.eos_ids:
            self._close(token_ids, self._text(token_ids[:-1], generated), logprobs, Finish.EOS)
            return True
        text = self._text(token_ids, generated)
        ends = self.request.delimiter in text
        self.held_back = ends and text.endswith(INCOMPLETE)
        if ends and not self.held_back:
            answers = self.request.answered_by(text)
            # The limit is at the end of a step, but before the requested end, or nothing can follow.
            cut = at_limit and not answers and (self.request.to_end or no_room)
            self._close(token_ids, text, logprobs, Finish.LENGTH if cut else Finish.STEP)
            return at_limit or answers or not self.request.to_end
        if at_limit:
            self._close(token_ids, text, logprobs, Finish.LENGTH)
        return at_limit

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

    def _text(self, token_ids: TokenIds, generated: Sequence[int]) -> str:
        before = tuple(generated[max(0, self._begun - _CONTEXT) : self._begun])
        return self.detokenizer.text(token_ids, (*self.prompt_ids[-_CONTEXT:], *before)[-_CONTEXT:])

    def _close(self, token_ids: TokenIds, text: str, logprobs: Sequence[float], finish: Finish) -> None:
        logprob = float(sum(logprobs[self._begun : self._begun + len(token_ids)]))
        self.steps.append(Step(text, token_ids, logprob, finish=finish))
        self._begun += len(token_ids)
