"""Models of real sizes with random weights: what a card computes does not depend on what the weights know.

The sizes are those of SmolLM2-135M, Llama-3.2-1B, Llama-3.1-8B and LLaDA-8B. Tensors are drawn one by one, so
that no more than a shard is in memory, and the vocabulary is the real one: ids that the small tokenizer does
not have are empty texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from actors.checkpoints.files import INDEX
from actors.embedded.models import llama_config

_SHARD = 2**31  # bytes


@dataclass(frozen=True)
class Shape:
    """The size of a Llama; ``mlp`` is the width of its gated layers."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp: int
    vocabulary: int


SHAPES = {
    "135m": Shape(30, 576, 9, 3, 1536, 49_152),
    "1b": Shape(16, 2048, 32, 8, 8192, 128_256),
    "8b": Shape(32, 4096, 32, 8, 14_336, 128_256),
    "llada-8b": Shape(32, 4096, 32, 32, 12_288, 126_464),
}


def save_random(
    folder: Path, shape: Shape, tokenizer: Any, *, dtype: torch.dtype = torch.bfloat16, context: int = 4096
) -> Path:
    """Write a Llama of this shape with random weights, drawn on a card where there is one."""
    config = llama_config(tokenizer, width=shape.width, num_layers=shape.layers)
    config.update(
        {
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.width // shape.heads,
            "intermediate_size": shape.mlp,
            "vocab_size": shape.vocabulary,
            "max_position_embeddings": context,
            "dtype": str(dtype).removeprefix("torch."),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)
    weight_map: dict[str, str] = {}
    for number, shard in enumerate(_shards(config, dtype)):
        file = f"model-{number:05}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def _shards(config: Any, dtype: torch.dtype) -> Iterator[dict[str, torch.Tensor]]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random = torch.Generator(device).manual_seed(0)
    with torch.device("meta"):
        named = LlamaForCausalLM(config).state_dict()
    shard: dict[str, torch.Tensor] = {}
    for name, like in named.items():
        scale = 1.0 if like.ndim == 1 else like.shape[-1] ** -0.5  # a norm's weights are ones
        drawn = torch.ones if like.ndim == 1 else torch.randn
        options = {} if like.ndim == 1 else {"generator": random}
        shard[name] = (drawn(like.shape, device=device, **options) * scale).to(dtype).cpu()
        if sum(t.nbytes for t in shard.values()) > _SHARD:
            yield shard
            shard = {}
    yield shard
