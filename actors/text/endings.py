"""Which tokens end a text: all that the configurations, the tokenizer and the chat template know.

A checkpoint states it in several places, which may differ: ``generation_config.json`` may list more than the
tokenizer's one end of text, and a chat's turn may end with a token that neither of them names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from actors.checkpoints import resolve_model

_SAID = "murmuration"
_TEMPLATES_FAULTS = (TemplateError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


def ends_of_text(
    tokenizer: Any,
    model: str | None = None,
    *,
    revision: str | None = None,
    configured: Iterable[Any] = (),
    chat_options: Mapping[str, Any] | None = None,
) -> frozenset[int]:
    """Return every token that ends a text.

    ``model`` is a folder or a name on the hub whose configurations are read, ``configured`` are further
    values of ``eos_token_id``: a number, several, or None.
    """
    values = [
        tokenizer.eos_token_id,
        *configured,
        *_written(model, revision),
        _end_of_turn(tokenizer, chat_options),
    ]
    ids = [i for value in values for i in (value if isinstance(value, list | tuple) else [value])]
    return frozenset(i for i in ids if type(i) is int and i >= 0)


def _written(model: str | None, revision: str | None) -> list[Any]:
    """``eos_token_id`` in generation_config.json and config.json, also of a text model inside another."""
    if model is None:
        return []
    found = []
    for path in _configurations(resolve_model(model), revision):
        try:
            written = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError):
            continue
        parts = [written, written.get("text_config")] if isinstance(written, Mapping) else []
        found += [part.get("eos_token_id") for part in parts if isinstance(part, Mapping)]
    return found


def _configurations(model: str, revision: str | None) -> list[str]:
    """The configuration files that exist; a folder with only a tokenizer has none.

    Files that the cache lacks are requested from the hub. If it is unreachable, which takes long to find out,
    that is tried only once.
    """
    from transformers.utils.hub import cached_file

    found, asks_hub = [], True
    for name in ("generation_config.json", "config.json"):
        for only_here in (True, False) if asks_hub else (True,):
            try:
                path = cached_file(model, name, revision=revision, local_files_only=only_here)
            except (OSError, ValueError) as error:
                asks_hub = only_here or error.__cause__ is None  # the hub answered: no such file
                continue
            found += [path] if path is not None else []
            break
    return found


def _end_of_turn(tokenizer: Any, chat_options: Mapping[str, Any] | None) -> int | None:
    """The special token that the chat template puts after the model's message, or None."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    roles = ("user", "assistant", "user")
    messages = [{"role": role, "content": _SAID if role == "assistant" else "?"} for role in roles]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, **(chat_options or {}))
    except _TEMPLATES_FAULTS:  # a template comes with the model: it may not take such a chat
        return None
    _, found, rest = str(text).rpartition(_SAID)
    after = rest.lstrip() if found else ""
    special = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    return max(((len(name), i) for name, i in special.items() if after.startswith(name)), default=(0, None))[
        1
    ]
