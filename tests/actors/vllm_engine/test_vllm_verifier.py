"""Reward models on vLLM: the rewards of the transformers verifier, a step read once, formats that fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForSequenceClassification, Qwen2ForTokenClassification

from actors.transformers_engine.config import TransformersVerifierConfig
from actors.vllm_engine.config import VllmVerifierConfig
from orchestrator.errors import ConfigError
from orchestrator.protocols import Failure, ScoreReply, ScoreRequest
from tests.actors.shared_vllm import SMALL, Elsewhere
from tests.actors.small_models import byte_level_tokenizer

pytestmark = pytest.mark.timeout(900)
QUESTION = "94 a/2 b-36 c*2 d-20 e-1 f+70 g+8 h+15"
STEPS = ("a94/2=47\n", "b47-36=11\n", "c11*2=23\n", "d23-20=3\n", "e3-1=2\n", "f2+70=72\n")
# Whole, each step behind those before it, two at once, the same again, and others after the same start.
REQUESTS = [
    ScoreRequest("p", QUESTION, STEPS, 0),
    *(ScoreRequest("p", QUESTION, STEPS[: n + 1], n) for n in range(6)),
    ScoreRequest("p", QUESTION, STEPS[:4], 2),
    ScoreRequest("p", QUESTION, STEPS, 0),
    ScoreRequest("p", QUESTION, (STEPS[0], STEPS[2], STEPS[1]), 1),
]


@asynccontextmanager
async def running(config: Any) -> AsyncIterator[Any]:
    verifier = config.build()
    try:
        yield verifier
    finally:
        await verifier.close()


async def rewards(verifier: Any, *requests: ScoreRequest) -> list[list[float]]:
    replies = [(await verifier.score([request]))[0] for request in requests]
    assert all(isinstance(r, ScoreReply) for r in replies), replies
    return [[reward.log_odds for reward in reply.rewards] for reply in replies]


async def check_parity(vllm: Any, transformers: Any) -> None:
    """Log-odds to 1e-4, whatever is in the cache; in one call and one by one."""
    expected = await rewards(transformers, *REQUESTS)
    assert max(abs(value) for values in expected for value in values) > 0.1
    alone = await rewards(vllm, *REQUESTS)
    together = [[r.log_odds for r in reply.rewards] for reply in await vllm.score(REQUESTS)]
    for one, two, other in zip(alone, together, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
        assert two == pytest.approx(other, abs=1e-4)


async def test_rewards_are_those_of_transformers(vllm_verifier: Elsewhere) -> None:
    async with running(TransformersVerifierConfig("embedded:chain-verifier")) as transformers:
        await check_parity(vllm_verifier, transformers)


async def test_a_step_is_read_once(vllm_verifier: Elsewhere) -> None:
    """But for the last block of the cache, which is read again: 32 tokens on a CPU."""
    question, num_read, length = "7 " + QUESTION[3:], 0, 0
    for n in range(len(STEPS)):
        (reply,) = await vllm_verifier.score([ScoreRequest("p", question, STEPS[: n + 1], n)])
        assert isinstance(reply, ScoreReply)
        length = reply.usage.reward_tokens + reply.usage.cached_reward_tokens
        assert reply.usage.reward_tokens <= 32 + len(STEPS[n]) or n == 0
        num_read += reply.usage.reward_tokens
    assert num_read < length + 32 * len(STEPS)
    assert vllm_verifier.inner.progress >= num_read


async def test_what_does_not_fit_fails_alone(vllm_verifier: Elsewhere) -> None:
    long = ScoreRequest("p", QUESTION, STEPS * 10, 0)
    replies = await vllm_verifier.score([long, ScoreRequest("p", QUESTION, (), 0), REQUESTS[1]])
    assert [getattr(r, "type", None) for r in replies] == ["ContextOverflow", "VerifierError", None]
    assert isinstance(replies[0], Failure)
    assert "room for 256" in replies[0].message


def test_a_head_that_vllm_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^verifier.format=value_head: vLLM loads no such head"):
        VllmVerifierConfig("embedded:chain-verifier", format="value_head")


def save(folder: Path, model_class: Any, num_labels: int) -> str:
    """A Qwen2 with a head, over bytes: the library gives every Qwen2 a byte-level tokenizer."""
    tokenizer = byte_level_tokenizer()
    torch.manual_seed(3)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        initializer_range=0.15,
        num_labels=num_labels,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_process_reward_model(folder: Path) -> str:
    """Qwen2ForProcessRewardModel has a head of two layers, which transformers knows by remote code alone."""
    import json

    from safetensors.torch import load_file, save_file

    save(folder, Qwen2ForTokenClassification, 2)
    tensors = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("score")}
    for name, shape in (("0.weight", (64, 64)), ("0.bias", (64,)), ("2.weight", (2, 64)), ("2.bias", (2,))):
        tensors[f"score.{name}"] = torch.randn(shape) * 0.3
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"architectures": ["Qwen2ForProcessRewardModel"]}
    path.write_text(json.dumps(config))
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["process", "outcome", "language_model"])
async def test_parity_of_other_formats(kind: str, tmp_path: Path, policy: Path) -> None:
    options: dict[str, Any] = {}
    if kind == "process":
        model, format = save_process_reward_model(tmp_path), "token_classification"
    elif kind == "outcome":
        model, format = save(tmp_path, Qwen2ForSequenceClassification, 1), "outcome"
        options = {"chat": False, "end": "\n", "template": "{question}\n"}
    else:
        model, format, options = str(policy), "lm_head", {"good": "+", "bad": "-"}
    keys = {"format": format, "options": options, "readout": "whole" if kind == "outcome" else "per_step"}
    configs = TransformersVerifierConfig(model, **keys), VllmVerifierConfig(model, args=SMALL, **keys)
    async with running(configs[0]) as transformers, running(configs[1]) as vllm:
        await check_parity(vllm, transformers)
