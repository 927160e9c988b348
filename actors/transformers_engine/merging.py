"""A LoRA adapter as a part of its model's weights, which peft adds to them once, when the model is loaded.

The model is then as fast as without it, and what depends on its weights alone stays as it is: batch
invariance, and caches of prefixes. The product of an adapter's matrices is computed in float32, and the sum
is rounded once to the type of the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file

from actors.checkpoints.adapters import HEADS, PREFIX, WEIGHTS_FILE, Adapter
from actors.messages import brief, some
from orchestrator.errors import ConfigError


class _Shell(torch.nn.Module):
    """Layers under the name ``model``, as in the class that an adapter was trained with."""

    is_gradient_checkpointing = False

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.config = model.config


def merge(adapter: Adapter | None, name: str, model: Any, *, heads: tuple[str, ...] = ()) -> None:
    """Add an adapter to the weights of ``model``, which ``name`` names; None changes nothing.

    ``heads`` are the modules that may come whole with it and are read elsewhere. Raises ConfigError.
    """
    if adapter is None:
        return
    adapter.check_features(dora=True, heads=heads)
    adapter.check_fits(name, {key: tuple(p.shape) for key, p in model.named_parameters()})
    _refuse_tied(adapter, model)
    try:
        _merge(adapter, model)
    except ConfigError:
        raise
    except Exception as error:  # with bad files the libraries may raise anything
        raise adapter.refused(f"cannot be merged into {name}: {brief(error)}") from error


def _merge(adapter: Adapter, model: Any) -> None:
    import peft

    config = peft.LoraConfig.from_pretrained(str(adapter.folder))
    config.modules_to_save = None
    config.inference_mode = True
    tensors = {
        key: tensor
        for key, tensor in load_file(adapter.folder / WEIGHTS_FILE).items()
        if key.removeprefix(PREFIX).partition(".")[0] not in HEADS
    }
    wrapped = peft.PeftModel(_as_trained(model, tensors), config)
    loaded = peft.set_peft_model_state_dict(wrapped, tensors)
    missing = [key for key in loaded.missing_keys if ".lora_" in key]
    if missing or loaded.unexpected_keys:
        wrong = f"lacks {some(missing)}" if missing else f"changes also {some(loaded.unexpected_keys)}"
        raise adapter.refused(f"is not what its adapter_config.json states: it {wrong}")
    wrapped.merge_and_unload()


def _as_trained(model: Any, tensors: dict[str, Any]) -> Any:
    """Return the module in which the tensors' names are those of modules: the model, or what holds it."""
    first = next(iter(tensors), "").removeprefix(PREFIX)
    names = {name for name, _ in model.named_modules()}
    module = first.partition(".lora_")[0]
    return model if module in names or module.removeprefix("model.") not in names else _Shell(model)


def _refuse_tied(adapter: Adapter, model: Any) -> None:
    """Raise ConfigError where it changes weights that two modules share: they would have to differ then."""
    changed = {name.partition(".lora_")[0].rpartition(".")[2] for name in adapter.shapes if ".lora_" in name}
    if model.config.get_text_config().tie_word_embeddings and changed & {"embed_tokens", "wte", "lm_head"}:
        raise adapter.refused("changes embeddings that this model shares with its head: merge it elsewhere")
