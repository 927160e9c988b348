"""Tokenising a text that a model continues: one beginning of text, and no end of text."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from actors.text.tokens import TokenIds

# Every real tokenizer knows at least one of these.
_PROBES = ("a", "1", "the", " ", "?")


class PromptTokenizer:
    """Tokenises whole texts with the tokens that the tokenizer puts first, without those that it puts last.

    With a tokenizer that adds an end of text, as after some trainings (``add_eos_token``, ``[SEP]``), the
    model would continue a text that has ended. One that begins every text itself would do so twice where the
    text already has a beginning, as with many templates.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.begins, self.ends = _added(tokenizer)

    @property
    def note(self) -> str:
        return f"left out: the tokens {list(self.ends)} that the tokenizer adds"

    def ids(self, text: str, *, special: bool = True) -> TokenIds:
        """Return the tokens of ``text``; without ``special`` it already holds the beginning of text."""
        token_ids = plain_ids(self._tokenizer, text)
        if special and token_ids[: len(self.begins)] != self.begins:
            token_ids = self.begins + token_ids
        return self.once_begun(token_ids)

    def once_begun(self, token_ids: TokenIds) -> TokenIds:
        """Return the tokens without a second beginning of text right after the first."""
        begin = getattr(self._tokenizer, "bos_token_id", None)
        while begin is not None and token_ids[:2] == (begin, begin):
            token_ids = token_ids[1:]
        return token_ids


def tokenizer_digest(tokenizer: Any) -> str:
    """Return a digest of all that turns text into token ids: equal digests, equal ids.

    A tokenizer that is not one of the tokenizers library is known by its class and its vocabulary.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        what = backend.to_str()
    else:
        what = f"{type(tokenizer).__qualname__} {sorted(tokenizer.get_vocab().items())}"
    return hashlib.blake2b(what.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def plain_ids(tokenizer: Any, text: str) -> TokenIds:
    """Return the tokens of a text with nothing added."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


@lru_cache(maxsize=16)
def adds_beginning(tokenizer: Any) -> bool:
    """Return whether a tokenizer itself puts a beginning of text before every text."""
    return tokenizer.bos_token_id is not None and tokenizer.bos_token_id in _added(tokenizer)[0]


def _added(tokenizer: Any) -> tuple[TokenIds, TokenIds]:
    """The tokens that a tokenizer puts before and after every text."""
    for text in _PROBES:
        plain, whole = plain_ids(tokenizer, text), tuple(tokenizer(text)["input_ids"])
        for start in range(len(whole) - len(plain) + 1) if plain else ():
            if whole[start : start + len(plain)] == plain:
                return whole[:start], whole[start + len(plain) :]
    return (), ()
