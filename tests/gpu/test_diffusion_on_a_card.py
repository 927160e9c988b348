"""Masked diffusion in bfloat16 at the shape of LLaDA-8B, with random weights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.decoding import Filled
from actors.diffusion_engine.engine import DiffusionEngine
from tests.actors.diffusion_models import masked_tokenizer, path_request
from tests.actors.diffusion_reference import generate
from tests.bench.shapes import SHAPES, save_random

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(400)]
LENGTH, BLOCK, PATHS, CACHES = 64, 16, 16, ("none", "prefix", "dual")
GOAL = 4.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random(tmp_path_factory.mktemp("llada"), SHAPES["llada-8b"], masked_tokenizer())


def seconds_of_published_loop(engine: DiffusionEngine) -> float:
    """One path, without a cache, one token a pass."""
    loaded = engine.loaded
    begun = time.perf_counter()
    generate(
        loaded.model, loaded.tokenizer("5 a+1")["input_ids"], gen_length=LENGTH, block_length=BLOCK,
        steps=LENGTH, temperature=0.0, cfg_scale=0.0, remasking="low_confidence", mask_id=loaded.mask_id,
        noise=lambda block, step: (None, None),  # type: ignore[arg-type, return-value]
        counts=lambda masked, steps: [masked // steps + (s < masked % steps) for s in range(steps)],
    )  # fmt: skip
    torch.cuda.synchronize()
    return time.perf_counter() - begun


async def test_paths_a_second_over_the_published_loop(folder: Path) -> None:
    """The loop takes one path at a time; a vote over schedules has many of them at once."""
    sizes: dict[str, Any] = {"gen_length": LENGTH, "num_steps": LENGTH, "temperature": 0.0}
    requests = [path_request(f"{i}+1", seed=i, block_length=BLOCK, **sizes) for i in range(PATHS)]
    ratios: dict[str, float] = {}
    loop = 0.0
    for cache in CACHES:
        config = DiffusionEngineConfig(
            str(folder), dtype="bfloat16", device="cuda", cache=cache, max_batch_size=PATHS
        )  # type: ignore[arg-type]
        engine = DiffusionEngine(config)
        await engine.fill(requests[:1])  # warm
        loop = loop or seconds_of_published_loop(engine)
        begun = time.perf_counter()
        paths = await engine.fill(requests)
        ratios[cache] = PATHS * loop / (time.perf_counter() - begun)
        assert all(isinstance(path, Filled) for path in paths)
        await engine.close()
        del engine
        torch.cuda.empty_cache()
    assert max(ratios.values()) >= GOAL, ratios
