"""LoRA adapters in vLLM: the texts and rewards of transformers with the same adapters, merged there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.checkpoints.adapters import Adapter
from actors.http_verifier.config import HttpVerifierConfig
from actors.openai_engine.config import OpenAIEngineConfig
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
from actors.vllm_engine.settings import engine_args
from orchestrator.errors import ConfigError
from orchestrator.protocols import ScoreRequest
from tests.actors.openai_server import started_server
from tests.actors.shared_vllm import SMALL
from tests.actors.small_adapters import save_adapter
from tests.actors.small_models import ask, completed, save_policy
from tests.actors.small_reward_models import sentencepiece_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ARGUMENTS = [
    "--host=127.0.0.1",
    "--block-size=32",
    "--enforce-eager",
    "--dtype=float32",
    "--max-num-seqs=16",
    "--kv-cache-memory-bytes=134217728",
    "--enable-prompt-tokens-details",
]
STEPS = ("a5+1=6\n", "b6*2=12\n", "#12\n")


async def greedy(config: Any) -> list[tuple[int, ...]]:
    engine = config.build()
    requests = [ask(q, temperature=0, to_end=True, max_tokens=40) for q in ("5 a+1", "7 b*2", "94 c-6")]
    replies = completed([*await engine.generate(requests), *await engine.generate(requests[::-1])])
    await engine.close()
    return [step.token_ids for reply in replies for step in reply.steps]


async def rewards(config: Any) -> list[float]:
    """Of whole texts, and of steps behind what is in the cache."""
    verifier = config.build()
    requests = [ScoreRequest("p", "5 a+1", STEPS[: n + 1], n) for n in range(3)]
    requests.append(ScoreRequest("p", "5 a+1", STEPS, 0))
    replies = [(await verifier.score([request]))[0] for request in requests]
    await verifier.close()
    return [reward.log_odds for reply in replies for reward in reply.rewards]


async def test_a_policy_with_an_adapter(policy: Path, tmp_path: Path) -> None:
    lora = str(save_adapter(tmp_path, policy, rank_pattern={"k_proj": 9}, use_rslora=True))
    found = await greedy(VllmEngineConfig(str(policy), lora=lora, args=SMALL))
    assert found == await greedy(TransformersEngineConfig(str(policy), lora=lora))
    assert found != await greedy(TransformersEngineConfig(str(policy)))


async def test_a_reward_model_with_an_adapter(reward_model: Path, tmp_path: Path) -> None:
    """A classifier in the pooling runner: the layers have the adapter, the head is the model's."""
    lora = str(save_adapter(tmp_path, reward_model, auto_class="AutoModelForTokenClassification"))
    found = await rewards(VllmVerifierConfig(str(reward_model), lora=lora, args=SMALL))
    expected = await rewards(TransformersVerifierConfig(str(reward_model), lora=lora))
    assert found == pytest.approx(expected, abs=1e-4)
    assert found != pytest.approx(await rewards(TransformersVerifierConfig(str(reward_model))), abs=1e-1)


def test_ranks_are_those_that_vllm_takes(policy: Path, tmp_path: Path) -> None:
    config = VllmEngineConfig(str(policy))
    for rank, taken in ((1, 1), (2, 8), (9, 16), (257, 320)):
        folder = save_adapter(tmp_path / str(rank), policy, rank=rank, targets=("q_proj",))
        arguments = engine_args(config, {}, Adapter("engine.lora", "x", folder))
        assert (arguments.enable_lora, arguments.max_lora_rank) == (True, taken)
    folder = save_adapter(tmp_path / "513", policy, rank=513, targets=("q_proj",))
    with pytest.raises(ConfigError, match=r"engine\.lora=x: has rank 513, and vLLM takes at most 512"):
        engine_args(config, {}, Adapter("engine.lora", "x", folder))


async def test_one_server_holds_the_base_once_with_both_adapters(tmp_path: Path) -> None:
    """As docs/models.md has it: a policy and a reward model that is a language model, by their names."""
    base = tmp_path / "base"
    save_policy(base, sentencepiece_tokenizer())
    targets = ("q_proj", "v_proj", "down_proj")
    loras = {
        name: str(save_adapter(tmp_path / name, base, targets=targets, seed=seed))
        for seed, name in enumerate(("policy", "prm"))
    }
    named = [f"{name}={folder}" for name, folder in loras.items()]
    arguments = [*ARGUMENTS, "--enable-lora", "--max-loras=2", "--lora-modules", *named]
    with started_server(tmp_path / "log", str(base), arguments) as server:
        url = server.wait()
        policy = OpenAIEngineConfig("policy", url, tokenizer=str(base), template="{question}", logprobs=False)
        prm = HttpVerifierConfig("prm", url, api="completions", format="lm_head", tokenizer=str(base))
        texts, found = await greedy(policy), await rewards(prm)
    here = TransformersEngineConfig(str(base), lora=loras["policy"], template="{question}")
    assert texts == await greedy(here)
    there = TransformersVerifierConfig(str(base), lora=loras["prm"], format="lm_head")
    assert found == pytest.approx(await rewards(there), abs=1e-4)
    other = TransformersVerifierConfig(str(base), lora=loras["policy"], format="lm_head")
    assert found != pytest.approx(await rewards(other), abs=1e-2)
