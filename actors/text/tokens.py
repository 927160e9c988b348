"""Token ids of texts inside other texts, and the checks of a request's token ids."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from orchestrator.protocols import OVERFLOW, Failure, GenerateRequest
from orchestrator.types import Sampling

TokenIds = tuple[int, ...]
# Precedes a text that is tokenised as inside another text: any letter will do.
_LETTER = "a"


class InnerTokenizer:
    """Tokenises texts as they would be after ``anchor``, each once.

    Some tokenizers put a space before a whole text, and none before its continuation. A text that merges
    with the anchor is tokenised alone. Without ``special`` the names of special tokens are read as text,
    where the tokenizer can do that.
    """

    def __init__(self, tokenizer: Any, anchor: str = _LETTER, *, special: bool = True) -> None:
        self._tokenizer = tokenizer
        splits = not special and getattr(tokenizer, "is_fast", False)
        self._how = {"add_special_tokens": False} | ({"split_special_tokens": True} if splits else {})
        self._anchor = anchor
        self._before = self._plain(anchor)
        self.ids = lru_cache(maxsize=65536)(self._ids)

    def _ids(self, text: str) -> TokenIds:
        both = self._plain(self._anchor + text)
        is_behind = both[: len(self._before)] == self._before
        return both[len(self._before) :] if is_behind else self._plain(text)

    def _plain(self, text: str) -> TokenIds:
        return tuple(self._tokenizer(text, **self._how)["input_ids"]) if text else ()


def refuse_tokens(token_ids: TokenIds, max_length: int, vocab_size: int) -> Failure | None:
    """Return the Failure where the model cannot read ``token_ids``, or None."""
    if not token_ids:
        return Failure("EngineError", "the prompt is empty")
    if len(token_ids) > max_length:
        return Failure(OVERFLOW, f"{len(token_ids)} tokens; the model's context has room for {max_length}")
    if not 0 <= min(token_ids) <= max(token_ids) < vocab_size:
        return Failure(
            "EngineError", f"token ids {min(token_ids)}..{max(token_ids)}; the vocabulary has {vocab_size}"
        )
    return None


def refuse_request(
    request: GenerateRequest, prefix: TokenIds, max_context: int, vocab_size: int
) -> Failure | None:
    """Return the Failure where an autoregressive engine cannot continue ``prefix`` as requested, or None."""
    params = request.params
    if not isinstance(params, Sampling):
        message = f"an autoregressive engine takes Sampling, not {type(params).__name__}"
        return Failure("EngineError", message)
    if params.max_tokens < 1 or not params.temperature >= 0 or not 0 < params.top_p <= 1:
        return Failure("EngineError", f"{params}: max_tokens >= 1, temperature >= 0, 0 < top_p <= 1")
    if not request.delimiter:
        return Failure("EngineError", "the step delimiter is empty")
    if refusal := refuse_tokens(prefix, max_context - request.least_room, vocab_size):
        return refusal
    begun = request.begun.token_ids
    return refuse_tokens(begun, max_context - len(prefix), vocab_size) if begun else None
