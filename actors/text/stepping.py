"""From token ids to text, and after which tokens a step may end."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.text.tokens import TokenIds
from orchestrator.splitting import CONTEXT
from orchestrator.steps.cutting import INCOMPLETE
from orchestrator.steps.rule import StepEnds


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
        context = context[-CONTEXT:]
        before, whole = self._decode(context), self._decode(context + token_ids)
        return whole[len(before) :] if whole.startswith(before) else self._decode(token_ids)

    def _can_end(self, ends: StepEnds) -> npt.NDArray[np.bool_]:
        """Tokens after which a step may end, ``[vocab_size]``: after others the text need not be checked.

        The token that completes a delimiter or a marker holds its last character, or a part of it.
        """
        last = frozenset(filter(ends.can_end_with, {" ", *"".join(self.pieces)}))
        # A decoder may drop spaces around a single token, so a token that shows none may still hold one.
        table = [" " in last or not last.isdisjoint(p) or INCOMPLETE in p or not p for p in self.pieces]
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
