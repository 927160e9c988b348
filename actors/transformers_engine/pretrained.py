"""Models of the library's own classes, read from a checkpoint that holds every weight of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import transformers

from actors.checkpoints.adapters import Adapter
from actors.transformers_engine.merging import merge
from actors.transformers_engine.text_models import as_text, causal_lm
from orchestrator.errors import ConfigError


def load_complete(
    named: tuple[str, str],
    auto_class: str,
    name: str,
    _tokenizer: Any,
    adapter: Adapter | None = None,
    **how: Any,
) -> Any:
    """Load a model of the library's own classes. Raises ConfigError where its checkpoint lacks a weight.

    transformers would fill it with random numbers.
    """
    if auto_class == "AutoModelForCausalLM":
        model, info = causal_lm(name, **how)
    else:
        cls = getattr(transformers, auto_class)
        model, info = cls.from_pretrained(name, output_loading_info=True, **how)
    check_complete(*named, info)
    merge(adapter, named[1], model)
    return as_text(model)


def check_complete(key: str, model: str, info: Mapping[str, Any]) -> None:
    """Raise ConfigError where ``info`` of from_pretrained names weights that the checkpoint lacks."""
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        allowed = f"the checkpoint lacks {len(missing)} weights, such as {missing[0]}"
        raise ConfigError(key, model, allowed)
    if info.get("mismatched_keys"):
        raise ConfigError(key, model, "the checkpoint's weights have other shapes than config.json states")
