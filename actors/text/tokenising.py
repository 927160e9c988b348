"""How a text that is to be continued becomes tokens: begun once, and ended by nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from actors.text.tokens import TokenIds

# One of these is known to any tokenizer that is not a toy's.
_PROBES = ("a", "1", "the", " ", "?")


class PromptTokenizer:
    """Tokenises whole texts with what the tokenizer begins each with, and without what it ends them with.

    A tokenizer that a training has left with an end of text (``add_eos_token``, ``[SEP]``) would have the
    model continue a text that is over. One that begins every text by itself would do so twice where the text
    has a beginning already, as many templates do.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.begins, self.ends = _added(tokenizer)

    @property
    def note(self) -> str:
        return f"left out: the tokens {list(self.ends)} that the tokenizer adds"

    def ids(self, text: str, *, special: bool = True) -> TokenIds:
        """The tokens of ``text``, which without ``special`` has what a text begins with already."""
        token_ids = plain_ids(self._tokenizer, text)
        if special and token_ids[: len(self.begins)] != self.begins:
            token_ids = self.begins + token_ids
        return self.once_begun(token_ids)

    def once_begun(self, token_ids: TokenIds) -> TokenIds:
        """Without a second beginning of text right behind the first."""
        begin = getattr(self._tokenizer, "bos_token_id", None)
        while begin is not None and token_ids[:2] == (begin, begin):
            token_ids = token_ids[1:]
        return token_ids


def plain_ids(tokenizer: Any, text: str) -> TokenIds:
    """The tokens of a text with nothing added."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@lru_cache(maxsize=16)
def adds_beginning(tokenizer: Any) -> bool:
    """Whether a tokenizer puts a beginning of text before every text by itself."""
    return tokenizer.bos_token_id is not None and tokenizer.bos_token_id in _added(tokenizer)[0]


def _added(tokenizer: Any) -> tuple[TokenIds, TokenIds]:
    """What a tokenizer puts before and behind every text."""
    for text in _PROBES:
        plain, whole = plain_ids(tokenizer, text), tuple(tokenizer(text)["input_ids"])
        for start in range(len(whole) - len(plain) + 1) if plain else ():
            if whole[start : start + len(plain)] == plain:
                return whole[:start], whole[start + len(plain) :]
    return (), ()
