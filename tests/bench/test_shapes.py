"""A model of a real shape is loaded by both engines' loaders, from its shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.loading import load_diffusion
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.loading import load
from tests.actors.diffusion_models import masked_tokenizer
from tests.bench import shapes

SMALL = replace(shapes.SHAPES["135m"], layers=2, width=64, heads=4, kv_heads=2, mlp=96, vocabulary=300)


def test_a_random_model_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_SHARD", 50_000)
    folder = shapes.save_random(tmp_path, SMALL, masked_tokenizer(), dtype=torch.float32, context=128)
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert load(TransformersEngineConfig(str(folder))).max_context == 128
    masked = load_diffusion(DiffusionEngineConfig(str(folder)))
    assert masked.model.lm_head.weight.shape == (300, 64)
    assert masked.num_parameters == sum(p.numel() for p in masked.model.parameters())
