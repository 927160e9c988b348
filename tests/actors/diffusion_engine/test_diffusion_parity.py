"""The engine against the published loop, in float64: the same tokens, whatever the options and the batch."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.decoding import Filled
from actors.diffusion_engine.engine import DiffusionEngine
from actors.diffusion_engine.noise import position_keys, position_uniforms, token_uniforms
from actors.diffusion_engine.schedule import unmask_counts
from orchestrator.protocols import GenerateRequest
from orchestrator.types import REMASKINGS, Denoising
from tests.actors.diffusion_models import path_request, save_dream, save_native
from tests.actors.diffusion_reference import Noise, generate

QUESTIONS = ("5 a+1", "94 a/2 b-36 c*2 d-20", "7")
ORDERED = [name for name in REMASKINGS if name != "origin"]  # its coins are tested with the canvas
OPTIONS = [
    {"remasking": remasking, "cfg_scale": cfg, "temperature": temperature, "block_length": block_length}
    for remasking, cfg, temperature, block_length in product(ORDERED, (0.0, 0.7), (0.0, 0.9), (2, 4, 12))
]


def noise_of(seed: int, gen_length: int, vocab_size: int) -> Noise:
    """The numbers that the engine uses for a seed, for every position of the canvas."""

    def noise(block: int, step: int) -> tuple[Tensor, Tensor]:
        here = (torch.full((gen_length,), n) for n in (seed, block, step))
        keys = position_keys(*here, torch.arange(gen_length))
        return token_uniforms(keys, vocab_size), position_uniforms(keys)

    return noise


def expected(
    engine: DiffusionEngine, request: GenerateRequest, *, shift: int = 0, tempered: bool = False
) -> tuple[list[int], float]:
    """What the published loop makes of a request."""
    params, model = request.params, engine.loaded.model
    assert isinstance(params, Denoising) and params.block_length is not None
    unmasking = engine.loaded.layout.unmasking
    return generate(
        model,
        engine.loaded.tokenizer(f"{request.question}\n")["input_ids"],
        gen_length=params.gen_length,
        block_length=params.block_length,
        steps=params.num_steps,
        temperature=params.temperature,
        cfg_scale=params.cfg_scale,
        remasking=params.remasking,
        mask_id=engine.loaded.mask_id,
        noise=noise_of(request.seed, params.gen_length, model.config.vocab_size),
        counts=lambda masked, steps: unmask_counts(masked, steps, unmasking),
        shift=shift,
        tempered=tempered,
        top_p=params.top_p or 1.0,
    )


def requests(**more: Any) -> list[GenerateRequest]:
    """One path for each combination of options, of several prompts."""
    size = {"gen_length": 12, "num_steps": 6} | more
    return [
        path_request(QUESTIONS[i % len(QUESTIONS)], seed=1000 + i, **size, **options)
        for i, options in enumerate(OPTIONS)
    ]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiffusionEngine]:
    folder = save_native(tmp_path_factory.mktemp("native"))
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder), dtype="float64", max_batch_size=32))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def dream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiffusionEngine]:
    save_dream(folder := tmp_path_factory.mktemp("dream"))
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder), dtype="float64", max_batch_size=32))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def published(native: DiffusionEngine) -> list[tuple[list[int], float]]:
    return [expected(native, request) for request in requests()]


async def canvases(engine: DiffusionEngine, asked: list[GenerateRequest]) -> list[tuple[list[int], float]]:
    """The canvas of each request and its log-likelihood, past the end of the text too."""
    filled = [reply for reply in await engine.fill(asked) if isinstance(reply, Filled)]
    assert len(filled) == len(asked)
    return [(f.canvas.tokens.tolist(), float(f.canvas.logprobs.sum())) for f in filled]


async def test_the_published_loop_bit_for_bit(native: DiffusionEngine, published: list[Any]) -> None:
    """Alone, with no padding: equal tokens, and likelihoods that differ by the order of their sum."""
    for request, (tokens, logprob) in zip(requests(), published, strict=True):
        ((own_tokens, own_logprob),) = await canvases(native, [request])
        assert own_tokens == tokens, request.params
        assert own_logprob == pytest.approx(logprob, rel=1e-13)


async def test_padded_against_unpadded(native: DiffusionEngine, published: list[Any]) -> None:
    """All at once: prompts of other lengths, other blocks, guided beside unguided."""
    together = await canvases(native, requests())
    for request, own, (tokens, logprob) in zip(requests(), together, published, strict=True):
        assert own[0] == tokens, request.params
        assert own[1] == pytest.approx(logprob, rel=1e-11)


async def test_dream_reads_its_logits_one_to_the_right(dream: DiffusionEngine) -> None:
    asked = requests()[1::5]  # blocks of every length at both temperatures
    asked += requests(top_p=0.6)[1::5]
    for request, (tokens, logprob) in zip(asked, await canvases(dream, asked), strict=True):
        published = expected(dream, request, shift=1, tempered=True)
        assert tokens == published[0], request.params
        assert logprob == pytest.approx(published[1], rel=1e-11)
