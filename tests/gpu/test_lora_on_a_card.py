"""A policy and a reward model with an adapter each, side by side on one card: as merged by transformers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from actors.checkpoints import resolve_model
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
from tests.actors.small_adapters import save_adapter
from tests.actors.vllm_engine.test_vllm_lora import greedy, rewards
from tests.gpu.cards import ON_A_CARD

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]
POLICY, VERIFIER = "embedded:chain-policy", "embedded:chain-verifier"
HALF: dict[str, Any] = {"dtype": "float16"}  # vLLM's kernels take no other on a card


async def test_texts_and_rewards_are_those_of_transformers(tmp_path: Path) -> None:
    one, two = tmp_path / "policy", tmp_path / "verifier"
    save_adapter(one, Path(resolve_model(POLICY)), alpha=1.0)
    save_adapter(two, Path(resolve_model(VERIFIER)), auto_class="AutoModelForTokenClassification", alpha=1.0)
    texts, found = await asyncio.gather(
        greedy(VllmEngineConfig(POLICY, lora=str(one), args=ON_A_CARD, **HALF)),
        rewards(VllmVerifierConfig(VERIFIER, lora=str(two), args=ON_A_CARD, **HALF)),
    )
    assert texts == await greedy(TransformersEngineConfig(POLICY, lora=str(one), device="cuda"))
    merged = TransformersVerifierConfig(VERIFIER, lora=str(two), device="cuda")
    assert found == pytest.approx(await rewards(merged), abs=5e-2)
