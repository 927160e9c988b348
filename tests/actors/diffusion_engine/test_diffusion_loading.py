"""Checkpoints in each family's own layout: the native model to the last bit, or one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.loading import DiffusionModel, load_diffusion
from orchestrator.errors import ConfigError
from tests.actors.diffusion_models import (
    masked_tokenizer,
    save_dream,
    save_llada,
    save_native,
    save_sharded,
    write_json,
)
from tests.actors.diffusion_reference import logits_of


def assert_same(loaded: DiffusionModel, original: Any) -> None:
    """The same logits, to the last bit, with attention that sees both ways."""
    tokens = torch.arange(40)[None] * 7 % original.config.vocab_size
    with torch.inference_mode():
        assert torch.equal(logits_of(loaded.model, tokens), logits_of(original.eval(), tokens))
        causal = loaded.model(input_ids=tokens, use_cache=False).logits
        assert not torch.equal(logits_of(loaded.model, tokens), causal)


def test_llada_is_a_llama(tmp_path: Path) -> None:
    original = save_llada(tmp_path)
    loaded = load_diffusion(DiffusionEngineConfig(str(tmp_path)))
    assert_same(loaded, original)
    assert type(loaded.model).__name__ == "LlamaForCausalLM"
    assert loaded.mask_id == masked_tokenizer().mask_token_id
    assert loaded.eos_ids == {masked_tokenizer().eos_token_id}
    assert (loaded.max_context, loaded.layout.logit_shift) == (256, 0)
    assert loaded.tokenizer("5 a+1")["input_ids"] == masked_tokenizer()("5 a+1")["input_ids"]


def test_dream_is_a_qwen2(tmp_path: Path) -> None:
    original = save_dream(tmp_path)
    loaded = load_diffusion(DiffusionEngineConfig(str(tmp_path)))
    assert_same(loaded, original)
    assert loaded.layout.logit_shift == 1
    assert loaded.mask_id == loaded.tokenizer.mask_token_id
    assert loaded.tokenizer.decode(loaded.tokenizer("so x = 3,\n\nas")["input_ids"]) == "so x = 3,\n\nas"


@pytest.mark.parametrize("tied", [False, True])
def test_the_native_layout(tmp_path: Path, tied: bool) -> None:
    save_native(tmp_path, tie_word_embeddings=tied)
    original = LlamaForCausalLM.from_pretrained(tmp_path)
    assert_same(load_diffusion(DiffusionEngineConfig(str(tmp_path))), original)


def test_another_dtype(tmp_path: Path) -> None:
    save_native(tmp_path)
    assert (
        load_diffusion(DiffusionEngineConfig(str(tmp_path), dtype="bfloat16")).model.dtype == torch.bfloat16
    )
    assert load_diffusion(DiffusionEngineConfig(str(tmp_path), dtype="auto")).model.dtype == torch.float32
    assert load_diffusion(DiffusionEngineConfig(str(tmp_path), max_context=64)).max_context == 64


def drop_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")


def add_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {**tensors, "model.layers.0.self_attn.q_norm.weight": torch.ones(3)}, folder / "model.safetensors"
    )


def cut_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.norm.weight": torch.ones(3)}, folder / "model.safetensors")


def lose_a_shard(folder: Path) -> None:
    save_sharded(folder, load_file(folder / "model.safetensors"))
    (folder / "model.safetensors").unlink()
    (folder / "model-2.safetensors").unlink()


def break_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"no tensors")


def lose_the_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def configure(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        write_json(path, {**json.loads(path.read_text()), **changes})

    return change


MOE = {"model_type": "llada", "architectures": ["LLaDAMoEModelLM"], "num_experts": 64}
LLADA2 = {"model_type": "llada2_moe", "architectures": ["LLaDA2MoeModelLM"], "num_experts": 256}
SDAR = {"model_type": "sdar", "architectures": ["SDARForCausalLM"]}
SDAR_MOE = {"model_type": "sdar_moe", "architectures": ["SDARMoeForCausalLM"], "num_experts": 128}
CAUSAL = "a block-diffusion model: attention that is causal from block to block"
MISTAKES = {
    drop_a_tensor: "those of a bidirectional Llama (as LlamaForCausalLM): 1 missing: model.layers.1.mlp.up",
    add_a_tensor: "1 unexpected: model.layers.0.self_attn.q_norm.weight",
    cut_a_tensor: "1 of another shape: model.norm.weight is (3,), not (64,)",
    lose_a_shard: "names files that do not exist: model-2.safetensors",
    break_a_shard: "its model.safetensors is not a safetensors file (it begins with",
    lose_the_tokenizer: "neither tokenizer.json nor vocab.json and merges.txt",
    configure(**MOE): "its architecture is LLaDAMoEModelLM (model_type llada, a mixture of experts)",
    configure(
        **LLADA2
    ): f"is a LLaDA2 (LLaDA2MoeModelLM), {CAUSAL} and its mixture of experts cannot be loaded",
    configure(**SDAR): f"is a SDAR (SDARForCausalLM), {CAUSAL} cannot be loaded here",
    configure(**SDAR_MOE): "is a SDAR (SDARMoeForCausalLM), a block-diffusion model",
    configure(model_type="gpt2"): "(model_type gpt2); those loaded are LLaDA (llada), Dream (Dream)",
    configure(mask_token_id=None): "is not a masked-diffusion model",
    configure(max_position_embeddings=None): "its config.json lacks max_position_embeddings",
    configure(use_sliding_window=True): "its attention slides",
}


@pytest.mark.parametrize(("spoil", "message"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_checkpoint_that_does_not_match(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    save_native(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ConfigError) as error:
        load_diffusion(DiffusionEngineConfig(str(tmp_path)))
    assert error.value.key == "engine.model"
    assert message in str(error.value)


def test_a_llada_that_is_no_llama(tmp_path: Path) -> None:
    save_llada(tmp_path, alibi=True)
    with pytest.raises(ConfigError, match="has alibi True; only False is loaded"):
        load_diffusion(DiffusionEngineConfig(str(tmp_path)))


def test_what_config_json_tells_is_said_before_anything_starts(tmp_path: Path) -> None:
    save_native(tmp_path)
    assert DiffusionEngineConfig(str(tmp_path)).max_batch_size == 64
    configure(mask_token_id=None)(tmp_path)
    with pytest.raises(ConfigError, match="no mask_token_id"):
        DiffusionEngineConfig(str(tmp_path))
    with pytest.raises(ConfigError, match="no mask_token_id"):
        DiffusionEngineConfig("embedded:chain-policy")


def test_a_context_that_the_model_does_not_have(tmp_path: Path) -> None:
    save_native(tmp_path)
    with pytest.raises(ConfigError, match=r"engine.max_context=9999: must be 2..256"):
        load_diffusion(DiffusionEngineConfig(str(tmp_path), max_context=9999))
