"""Checks that a tokenizer knows the marks of a format: one that it splits would be misread silently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from actors.text.tokenising import plain_ids
from actors.text.tokens import InnerTokenizer, TokenIds
from orchestrator.errors import ConfigError

# Texts that are meant to be one token each, next to any text.
_MARK = re.compile(r"<[|\uff5c][^<>\s]+[|\uff5c]>|<extra_\d+>|<(?:start|end)_of_\w+>")


def check_tag(tokenizer: Any, option: str, text: str) -> None:
    """Raise ConfigError unless a text at whose end a reward is read is one token.

    A text that ends in white space may be several tokens: trainers label the last token of a separator such
    as an empty line. A text that only looks like one special token may not.
    """
    ids = InnerTokenizer(tokenizer).ids(text)
    check_marks(tokenizer, **{option: text if len(ids) > 1 else None})
    is_cut = len(ids) > 1 and str(tokenizer.decode([ids[-1]])).strip()
    if not ids or _is_unknown(tokenizer, ids) or is_cut:
        raise _refusal(tokenizer, option, text, ids, "must be one token, at which the reward is read")


def check_marks(tokenizer: Any, **texts: str | None) -> None:
    """Raise ConfigError for a mark such as ``<|im_start|>`` in the options' texts that is not one token."""
    for option, text in texts.items():
        for mark in _MARK.findall(text or ""):
            ids = InnerTokenizer(tokenizer).ids(mark)
            if len(ids) != 1 or _is_unknown(tokenizer, ids):
                raise _refusal(
                    tokenizer, option, mark, ids, "must be one token; is the format another model's?"
                )


def verdict_token(tokenizer: Any, option: str, text: str) -> int:
    """Return a verdict's token. Raises ConfigError where it is split or unknown; a space may come first."""
    ids = plain_ids(tokenizer, text)
    visible = [i for i in ids if str(tokenizer.decode([i])).strip()]
    if not ids or visible != list(ids[-1:]) or _is_unknown(tokenizer, ids):
        raise _refusal(tokenizer, option, text, ids, "must be one token, whose logit is read")
    return int(ids[-1])


def _is_unknown(tokenizer: Any, ids: Sequence[int]) -> bool:
    unknown = getattr(tokenizer, "unk_token_id", None)
    return unknown is not None and unknown in ids


def _refusal(tokenizer: Any, option: str, text: str, ids: TokenIds, must: str) -> ConfigError:
    pieces = [str(piece) for piece in tokenizer.convert_ids_to_tokens(list(ids[:12]))]
    made = f"{len(ids)} tokens of it, {pieces}" if ids else "nothing of it"
    if ids and _is_unknown(tokenizer, ids):
        made = f"an unknown token of it, {pieces}"
    return ConfigError(
        f"verifier.options.{option}", repr(text), f"{must}: this model's tokenizer makes {made}"
    )
