"""Small masked-diffusion models with random weights in each family's own layout, and requests to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from actors.diffusion_engine.layouts import LAYOUTS
from actors.embedded.models import build_tokenizer, llama_config
from orchestrator.protocols import Completion, Failure, GenerateRequest
from orchestrator.types import Denoising
from tests.actors.small_models import ALPHABET, byte_level_tokenizer

LLADA_CONFIG = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
    "block_type": "llama",
    "layer_norm_type": "rms",
    "activation_type": "silu",
    "rope": True,
    "alibi": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "max_sequence_length": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "weight_tying": False,
}


def masked_tokenizer() -> PreTrainedTokenizerFast:
    """Characters, and a token for an undecided position."""
    tokenizer = build_tokenizer(ALPHABET)
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    return tokenizer


def random_llama(tokenizer: Any, **changes: Any) -> Any:
    """A Llama whose distributions are neither flat nor certain."""
    torch.manual_seed(0)
    config = llama_config(tokenizer, width=64, num_layers=2)
    config.num_key_value_heads = 1
    config.initializer_range = 0.15
    config.mask_token_id = tokenizer.mask_token_id
    for name, value in changes.items():
        setattr(config, name, value)
    return LlamaForCausalLM(config)


def save_native(folder: Path, **changes: Any) -> Path:
    """As the shipped model is stored: a Llama with ``mask_token_id`` in its configuration."""
    tokenizer = masked_tokenizer()
    random_llama(tokenizer, **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_llada(folder: Path, **config: Any) -> Any:
    """A checkpoint in LLaDA's own layout, in two shards; returns the Llama that it is."""
    tokenizer = masked_tokenizer()
    rope = {"rope_type": "default", "rope_theta": LLADA_CONFIG["rope_theta"]}
    model = random_llama(tokenizer, rope_parameters=rope, rms_norm_eps=LLADA_CONFIG["rms_norm_eps"])
    rename = LAYOUTS["llada"].rename
    stored_names = [f"model.transformer.{n}.weight" for n in ("wte", "ln_f", "ff_out")]
    parts = ("attn_norm", "q_proj", "k_proj", "v_proj", "attn_out", "ff_norm", "ff_proj", "up_proj", "ff_out")
    stored_names += [f"model.transformer.blocks.{i}.{part}.weight" for i in range(2) for part in parts]
    tensors = {stored: model.state_dict()[rename(stored)].clone() for stored in stored_names}
    shape = model.config
    sizes = {
        "d_model": shape.hidden_size,
        "n_heads": shape.num_attention_heads,
        "n_kv_heads": shape.num_key_value_heads,
        "n_layers": shape.num_hidden_layers,
        "mlp_hidden_size": shape.intermediate_size,
        "vocab_size": shape.vocab_size,
        "embedding_size": shape.vocab_size,
        "mask_token_id": tokenizer.mask_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    save_sharded(folder, tensors)
    write_json(folder / "config.json", {**LLADA_CONFIG, **sizes, **config})
    tokenizer.save_pretrained(folder)
    return model


def save_dream(folder: Path) -> Any:
    """A checkpoint in Dream's own layout, with its tokenizer's files; returns the Qwen2 that it is."""
    tokenizer = byte_level_tokenizer()
    vocab_size = len(tokenizer) + 1
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.15,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    model = Qwen2ForCausalLM(config)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.clone() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    stored = {
        **{k: v for k, v in config.to_dict().items() if k not in ("layer_types", "rope_parameters")},
        "rope_theta": 1e6,
        "model_type": "Dream",
        "architectures": ["DreamModel"],
        "mask_token_id": vocab_size - 1,
        "eos_token_id": tokenizer.eos_token_id,
    }
    write_json(folder / "config.json", stored)
    tokenizer.backend_tokenizer.model.save(str(folder))
    special = ["<pad>", "<bos>", "<eos>", "<|mask|>"]
    ids = [*tokenizer.convert_tokens_to_ids(special[:3]), vocab_size - 1]
    added = {str(i): {"content": name, "special": True} for i, name in zip(ids, special, strict=True)}
    own = {"tokenizer_class": "DreamTokenizer", "auto_map": {"AutoTokenizer": ["x.DreamTokenizer", None]}}
    named = {"eos_token": "<eos>", "pad_token": "<pad>", "mask_token": "<|mask|>", "bos_token": "<bos>"}
    write_json(folder / "tokenizer_config.json", {**own, **named, "added_tokens_decoder": added})
    return model


def save_sharded(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Two shards and the index that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in halves.items() for name in part}
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def path_request(
    question: str = "5 a+1", *, seed: int = 0, marker: str | None = None, home: str = "home", **knobs: Any
) -> GenerateRequest:
    """A path with defaults: 24 positions, 12 passes, blocks of 8."""
    params = Denoising(**({"block_length": 8, "gen_length": 24, "num_steps": 12, "temperature": 0.9} | knobs))
    return GenerateRequest(home, question, "", (), params, seed, "\n", marker, to_end=True)


def tokens_of(reply: Completion | Failure) -> list[int]:
    """The token ids of a reply that is no failure."""
    assert isinstance(reply, Completion), reply
    return [t for step in reply.steps for t in step.token_ids]
