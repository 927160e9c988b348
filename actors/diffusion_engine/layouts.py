"""How families of masked-diffusion models store a native model: configuration and tensor names.

LLaDA: Nie et al., arXiv 2502.09992. Dream: Ye et al., arXiv 2508.15487.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from actors.checkpoints import resolve_model
from actors.checkpoints.files import read_json
from orchestrator.errors import ConfigError

Unmasking = Literal["even", "proportional"]
"""How many tokens each pass of a block commits: see ``schedule.unmask_counts``."""

Convert = Callable[[Mapping[str, Any], str, str], dict[str, Any]]
"""From config.json, and a key and value for messages, to the arguments of the native configuration."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a family stores a model of the transformers class ``native``.

    ``rename`` maps the name of a stored tensor to the native one. The logits at position i predict the token
    at i + ``logit_shift``. With ``tempered`` a confidence is that of the tempered distribution, from which
    tokens are drawn; else that at temperature 1.
    """

    name: str
    native: str
    convert: Convert
    rename: Callable[[str], str]
    logit_shift: int = 0
    unmasking: Unmasking = "even"
    tempered: bool = False


_LLADA_TOP = {
    "model.transformer.wte.weight": "model.embed_tokens.weight",
    "model.transformer.ln_f.weight": "model.norm.weight",
    "model.transformer.ff_out.weight": "lm_head.weight",
}
_LLADA_BLOCK = {
    "attn_norm": "input_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_norm": "post_attention_layernorm",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
# The values that a LLaDA configuration must have, where it has these keys, for the model to be a Llama.
_LLADA_MUST = {
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "attention_layer_norm": False,
    "include_bias": False,
    "input_emb_norm": False,
    "scale_logits": False,
}


def _llada_name(stored: str) -> str:
    block = re.fullmatch(r"model\.transformer\.blocks\.(\d+)\.(\w+)\.(weight|bias)", stored)
    if block is None or block[2] not in _LLADA_BLOCK:
        return _LLADA_TOP.get(stored, stored)
    return f"model.layers.{block[1]}.{_LLADA_BLOCK[block[2]]}.{block[3]}"


def _llada_config(config: Mapping[str, Any], key: str, model: str) -> dict[str, Any]:
    for name, must in _LLADA_MUST.items():
        if config.get(name, must) != must:
            raise ConfigError(key, model, f"its config.json has {name} {config[name]}; only {must} is loaded")
    names = ("d_model", "n_heads", "n_layers", "mlp_hidden_size", "vocab_size", "max_sequence_length")
    _require(config, names, key, model)
    return {
        "hidden_size": config["d_model"],
        "num_attention_heads": config["n_heads"],
        "num_key_value_heads": config.get("n_kv_heads") or config["n_heads"],
        "num_hidden_layers": config["n_layers"],
        "intermediate_size": config["mlp_hidden_size"],
        # The embedding may be padded beyond the vocabulary.
        "vocab_size": config.get("embedding_size") or config["vocab_size"],
        "max_position_embeddings": config["max_sequence_length"],
        "rms_norm_eps": config.get("rms_norm_eps", 1e-5),
        "rope_parameters": {"rope_type": "default", "rope_theta": config.get("rope_theta", 10000.0)},
        "tie_word_embeddings": bool(config.get("weight_tying", False)),
        "attention_bias": bool(config.get("include_qkv_bias", False)),
    }


def _native_config(config: Mapping[str, Any], key: str, model: str) -> dict[str, Any]:
    names = ("hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
    _require(config, names, key, model)
    layers = set(config.get("layer_types") or ["full_attention"])
    if config.get("use_sliding_window") or layers != {"full_attention"}:
        raise ConfigError(key, model, "its attention slides: only full attention is loaded")
    own = ("architectures", "auto_map", "model_type", "transformers_version", "mask_token_id")
    return {name: value for name, value in config.items() if name not in own}


def _same(stored: str) -> str:
    return stored


LAYOUTS = {
    "llada": Layout("LLaDA", "LlamaForCausalLM", _llada_config, _llada_name),
    "Dream": Layout("Dream", "Qwen2ForCausalLM", _native_config, _same, 1, "proportional", tempered=True),
    "llama": Layout("a bidirectional Llama", "LlamaForCausalLM", _native_config, _same),
    "qwen2": Layout("a bidirectional Qwen2", "Qwen2ForCausalLM", _native_config, _same),
}
"""By ``model_type`` of config.json."""

_EXPERTS = "its mixture of experts"
# Models that denoise block after block, by model_type: their names, and what they need beside block-causal
# attention. LLaDA2: https://github.com/inclusionAI/LLaDA2.X; SDAR: arXiv 2510.06303.
_BLOCK_DIFFUSION: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "llada2_moe": ("LLaDA2", (_EXPERTS,)),
    "sdar": ("SDAR", ()),
    "sdar_moe": ("SDAR", (_EXPERTS,)),
}


def layout_of(config: Mapping[str, Any], key: str, model: str) -> Layout:
    """Return the layout of a checkpoint. Raises ConfigError for an architecture that is not supported."""
    kind, architectures = config.get("model_type"), config.get("architectures") or ["unknown"]
    if (block_diffusion := _BLOCK_DIFFUSION.get(str(kind))) is not None:
        name, more = block_diffusion
        missing = " and ".join(("attention that is causal from block to block", *more))
        allowed = (
            f"is a {name} ({architectures[0]}), a block-diffusion model: {missing} cannot be loaded here"
        )
        raise ConfigError(key, model, allowed)
    experts = any(config.get(name) for name in ("num_experts", "n_experts", "num_local_experts"))
    if kind not in LAYOUTS or experts:
        what = f"{architectures[0]} (model_type {kind}{', a mixture of experts' if experts else ''})"
        known = ", ".join(f"{layout.name} ({name})" for name, layout in LAYOUTS.items())
        raise ConfigError(key, model, f"its architecture is {what}; those loaded are {known}")
    return LAYOUTS[kind]


def mask_id_of(config: Mapping[str, Any], key: str, model: str) -> int:
    """Return the token of an undecided position. Raises ConfigError where the model has none."""
    mask_id = config.get("mask_token_id")
    if not isinstance(mask_id, int) or mask_id < 0:
        raise ConfigError(key, model, "is not a masked-diffusion model: its config.json has no mask_token_id")
    return mask_id


def check_layout(key: str, model: str) -> None:
    """Raise ConfigError when ``model`` names a local folder whose config.json is not of a supported model.

    A name of the hub is not looked up.
    """
    path = Path(resolve_model(model)) / "config.json"
    if path.exists():
        config = read_json(path, key, model)
        layout_of(config, key, model).convert(config, key, model)
        mask_id_of(config, key, model)


def _require(config: Mapping[str, Any], names: tuple[str, ...], key: str, model: str) -> None:
    missing = [name for name in names if config.get(name) is None]
    if missing:
        raise ConfigError(key, model, f"its config.json lacks {', '.join(missing)}")
