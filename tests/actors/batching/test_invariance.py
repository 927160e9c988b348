"""Whole models of many kinds keep the promise, and the probe finds one that does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import actors.batching.forward
from actors.batching.attention import PADDED, register
from actors.batching.forward import Runner, make_invariant, probe
from actors.batching.kv import KVShape
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.engine import TransformersEngine
from tests.actors.small_models import ask, completed

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama(activation: str) -> Callable[[], Any]:
    config = transformers.LlamaConfig(**SHAPE, hidden_act=activation)
    return lambda: transformers.LlamaForCausalLM(config)


def mixtral() -> Any:
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**SHAPE, num_local_experts=4))


def gpt2() -> Any:
    sizes = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 256}
    ids = {"bos_token_id": 1, "eos_token_id": 2}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=61, **sizes, **ids))


def neox() -> Any:
    config = transformers.GPTNeoXConfig(**{k: v for k, v in SHAPE.items() if k != "num_key_value_heads"})
    return transformers.GPTNeoXForCausalLM(config)


def tied() -> Any:
    config = transformers.Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=True)
    return transformers.Qwen3ForCausalLM(config)


MODELS: dict[str, Callable[[], Any]] = {
    **{name: llama(name) for name in ("silu", "gelu_pytorch_tanh", "gelu_new", "quick_gelu", "mish")},
    "experts": mixtral,
    "convolutions": gpt2,
    "functions": neox,
    "tied": tied,
}


@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_models_of_many_kinds_are_invariant(name: str) -> None:
    register()
    torch.manual_seed(0)
    model = MODELS[name]().eval().requires_grad_(False)
    model.set_attn_implementation(PADDED)
    runner = Runner(model, KVShape.of(model.config, model.dtype, model.device), invariant=True)
    assert probe(runner)
    assert runner.replaces == (name in ("experts", "functions")), "only those pay for it"


async def test_a_model_that_is_not_says_so_and_works(
    policy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(model: Any) -> None:
        make_invariant(model)
        model.lm_head.register_forward_hook(lambda _module, _args, logits: logits + 1e-4 * len(logits))

    monkeypatch.setattr(actors.batching.forward, "make_invariant", spoil)
    engine = TransformersEngine(TransformersEngineConfig(str(policy)))
    assert not engine.info.batch_invariant
    assert "not batch-invariant" in caplog.text
    assert completed(await engine.generate([ask(), ask(seed=1)]))
    await engine.close()
