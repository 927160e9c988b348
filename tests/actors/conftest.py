"""What several tests share: a local Ray, and small models that are loaded once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.actors.openai_server import http_verifier, openai_chat, openai_policy, openai_server
from tests.actors.ray_fixture import local_ray, ray_ended_at_last
from tests.actors.shared_vllm import vllm_policy, vllm_verifier

if TYPE_CHECKING:  # heavy: the quick level reads this file too
    from actors.transformers_engine.engine import TransformersEngine
    from actors.transformers_engine.verifier import TransformersVerifier

__all__ = [
    "http_verifier",
    "local_ray",
    "openai_chat",
    "openai_policy",
    "openai_server",
    "ray_ended_at_last",
    "vllm_policy",
    "vllm_verifier",
]


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from actors.embedded.models import build_tokenizer
    from tests.actors.small_models import ALPHABET, save_policy

    return save_policy(tmp_path_factory.mktemp("policy"), build_tokenizer(ALPHABET))


@pytest.fixture(scope="session")
def bpe_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.actors.small_models import byte_level_tokenizer, save_policy

    return save_policy(tmp_path_factory.mktemp("bpe"), byte_level_tokenizer(), num_kv_heads=1)


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from actors.embedded.models import build_tokenizer
    from tests.actors.small_models import ALPHABET, save_reward_model

    return save_reward_model(tmp_path_factory.mktemp("verifier"), build_tokenizer(ALPHABET))


@pytest.fixture(scope="session")
def engine(policy: Path) -> Iterator[TransformersEngine]:
    from actors.transformers_engine.config import TransformersEngineConfig
    from actors.transformers_engine.engine import TransformersEngine

    engine = TransformersEngine(TransformersEngineConfig(str(policy)))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="session")
def verifier(reward_model: Path) -> Iterator[TransformersVerifier]:
    from actors.transformers_engine.config import TransformersVerifierConfig
    from actors.transformers_engine.verifier import TransformersVerifier

    verifier = TransformersVerifier(TransformersVerifierConfig(str(reward_model)))
    yield verifier
    asyncio.run(verifier.close())


@pytest.fixture(params=[1, 2])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
