"""The characters that a tokenizer can write, and the strings that it reads as special tokens."""

from __future__ import annotations

import string
from functools import cached_property
from typing import Any

from actors.text.tokenising import plain_ids
from actors.text.tokens import TokenIds
from orchestrator.protocols import Failure

UNWRITABLE = "UnknownCharacters"
"""The type of a Failure of a prompt that the policy's tokenizer cannot write."""

_NUM_NAMED = 8


def special_strings(tokenizer: Any) -> tuple[str, ...]:
    """Return the special tokens of a tokenizer, as texts: the marks of its chat, and the ends of text."""
    added = getattr(tokenizer, "added_tokens_decoder", None) or {}
    return tuple(token.content for token in added.values() if token.special and token.content)


class Alphabet:
    """The characters of a tokenizer with a token for the unknown.

    A tokenizer of a natural language may lack rare characters, and its model can read the others. One that
    lacks letters or digits was made for something else: a prompt with any unknown character is then refused.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._unknown = _unknown_ids(tokenizer)

    def refusal(self, text: str, token_ids: TokenIds) -> Failure | None:
        """Return the Failure that names the first characters of a prompt that cannot be written, or None."""
        if self._unknown.isdisjoint(token_ids) or self._is_whole:
            return None
        lacking = [c for c in dict.fromkeys(text) if self._lacks(c)]
        if not lacking:
            return None
        named = ", ".join(map(repr, lacking[:_NUM_NAMED]))
        others = f" and {len(lacking) - _NUM_NAMED} more" if len(lacking) > _NUM_NAMED else ""
        message = f"the policy's tokenizer cannot write these characters of the prompt: {named}{others}"
        return Failure(UNWRITABLE, message)

    @cached_property
    def _is_whole(self) -> bool:
        return not any(map(self._lacks, string.ascii_letters + string.digits))

    def _lacks(self, character: str) -> bool:
        return not self._unknown.isdisjoint(plain_ids(self._tokenizer, character))


def _unknown_ids(tokenizer: Any) -> frozenset[int]:
    """Return the tokens for what is unknown: the tokenizer's, and that of the model inside it."""
    inner = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    token = getattr(inner, "unk_token", None)
    ids = {getattr(tokenizer, "unk_token_id", None), token and tokenizer.convert_tokens_to_ids(token)}
    return frozenset(i for i in ids if isinstance(i, int))
