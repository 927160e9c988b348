"""Models that several threads of a process load at once, as under cluster=inprocess."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.loading import load_diffusion
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.loading import load
from tests.actors.diffusion_models import save_native
from tests.actors.small_models import byte_level_tokenizer, save_policy


def is_tied(model: Any) -> bool:
    return bool(torch.equal(model.get_output_embeddings().weight, model.get_input_embeddings().weight))


def test_every_head_stays_tied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers replaces ``tie_weights`` of all models while it loads one."""
    before = transformers.PreTrainedModel.tie_weights
    monkeypatch.setattr(transformers.PreTrainedModel, "tie_weights", before)  # back after a failure
    save_native(tmp_path / "diffusion", tie_word_embeddings=True)
    policy = save_policy(tmp_path / "policy", byte_level_tokenizer(), tied=True)

    def one(number: int) -> bool:
        if number % 2:
            return is_tied(load_diffusion(DiffusionEngineConfig(str(tmp_path / "diffusion"))).model)
        return is_tied(load(TransformersEngineConfig(str(policy))).runner.model)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(24)))
    assert transformers.PreTrainedModel.tie_weights is before
