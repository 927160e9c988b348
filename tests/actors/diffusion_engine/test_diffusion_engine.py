"""The masked-diffusion engine: batches, caches, schedules, steps, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.decoding import Filled
from actors.diffusion_engine.engine import DiffusionEngine, delimiter_ids
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from actors.text.stepping import Detokenizer
from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, Failure, GenerateRequest, LoglikRequest
from orchestrator.types import EstimatedDenoising, Finish, Sampling, Step
from strategies.hex import with_estimate
from tests.actors.diffusion_models import path_request, save_native
from tests.actors.diffusion_reference import logits_of

LONG = "94 a/2 b-36 c*2 d-20 e-1 f+70 g+8 h+15"
MIXED = [
    path_request(seed=1, block_length=4),
    path_request(seed=2, block_length=24, num_steps=24),
    path_request(LONG, seed=3, cfg_scale=0.5),
    path_request("7", seed=4, temperature=0.0),
    path_request(seed=5, threshold=0.4),
    path_request(LONG, seed=6, delimiter_threshold=0.1),
    path_request(seed=7, early_stop=True),
    path_request("1 2", seed=8, remasking="entropy", gen_length=40, block_length=None),
    path_request(seed=9, remasking="random", block_length=5),
    path_request(seed=10, top_p=0.8),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_native(tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module", params=["none", "prefix", "dual"])
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[DiffusionEngine]:
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder), cache=request.param))
    yield engine
    asyncio.run(engine.close())


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[DiffusionEngine]:
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder)))
    yield engine
    asyncio.run(engine.close())


async def complete(engine: DiffusionEngine, *requests: GenerateRequest) -> list[Completion]:
    replies = await engine.generate(requests)
    assert not [r for r in replies if isinstance(r, Failure)]
    return [r for r in replies if isinstance(r, Completion)]


async def fill(engine: DiffusionEngine, *requests: GenerateRequest) -> list[Filled]:
    filled = [f for f in await engine.fill(requests) if isinstance(f, Filled)]
    assert len(filled) == len(requests)
    return filled


async def test_a_reply_depends_on_its_request_alone(engine: DiffusionEngine) -> None:
    """Bit by bit, the ledger included: other prompts, blocks, measures and lengths share its batch."""
    assert engine.info.batch_invariant
    together = await complete(engine, *MIXED)
    assert await complete(engine, *reversed(MIXED)) == together[::-1]
    for request, reply in zip(MIXED, together, strict=True):
        assert await complete(engine, request) == [reply]
    apart = await asyncio.gather(*(complete(engine, request) for request in MIXED))
    assert [reply for (reply,) in apart] == together


async def test_a_small_batch_takes_them_in_turn(folder: Path) -> None:
    small, large = (
        DiffusionEngine(DiffusionEngineConfig(str(folder), cache="dual", max_batch_size=n)) for n in (2, 64)
    )
    assert await complete(small, *MIXED) == await complete(large, *MIXED)
    await small.close()
    await large.close()


async def test_kept_keys_and_values_are_counted_as_such(
    engine: DiffusionEngine, plain: DiffusionEngine
) -> None:
    """Three blocks of four passes: the first of each computes the whole row, the others what they must."""
    request = path_request(LONG, early_stop=False)
    ((reply,), (reference,)) = await complete(engine, request), await complete(plain, request)
    num_prompt, kept = len(LONG) + 2, engine.cache != "none"  # <bos>, the question and a newline
    assert reply.usage.prompt_tokens == reference.usage.prompt_tokens == 12 * num_prompt
    assert reply.usage.cached_tokens == (9 * num_prompt if kept else 0)
    assert reply.usage.denoising_passes == 12
    assert reply.usage.generated_tokens == 24
    per_token = 2 * engine.loaded.num_parameters
    later = {"none": 3 * (num_prompt + 24), "prefix": 24 + 16 + 8, "dual": 8 + 8 + 8}[engine.cache]
    assert reply.usage.flops == per_token * (3 * (num_prompt + 24) + 3 * later)


async def test_caches_change_nothing_where_each_block_takes_one_pass(
    engine: DiffusionEngine, plain: DiffusionEngine
) -> None:
    requests = [path_request(LONG, seed=s, num_steps=3, cfg_scale=c) for s in range(4) for c in (0.0, 0.5)]
    own, reference = await complete(engine, *requests), await complete(plain, *requests)
    assert [c.steps for c in own] == [c.steps for c in reference]


async def test_caches_mostly_agree(
    engine: DiffusionEngine, plain: DiffusionEngine, record_property: Any
) -> None:
    """They approximate: on random weights, the worst case, most tokens are still those of no cache."""
    requests = [path_request(LONG, seed=s, temperature=0.0, block_length=8) for s in range(1)]
    requests += [path_request(f"{s} a+{s}", temperature=0.0, block_length=4) for s in range(40)]
    pairs = zip(await fill(engine, *requests), await fill(plain, *requests), strict=True)
    agreement = float(np.mean([(a.canvas.tokens == b.canvas.tokens).mean() for a, b in pairs]))
    record_property(f"agreement with no cache, cache={engine.cache}", agreement)
    assert agreement == 1.0 if engine.cache == "none" else agreement > 0.4


async def test_thresholds(plain: DiffusionEngine) -> None:
    """0 commits a block at once, 1 a token at a time, in between something in between."""
    passes = [
        (await complete(plain, path_request(threshold=t)))[0].usage.denoising_passes for t in (0.0, 0.3, 1.0)
    ]
    assert passes[0] == 3 and passes[2] == 24
    assert 3 < passes[1] < 24


async def test_guidance_is_paid_for(plain: DiffusionEngine) -> None:
    once, twice = await complete(plain, path_request(), path_request(cfg_scale=0.5))
    assert twice.usage.denoising_passes == 2 * once.usage.denoising_passes == 24
    assert twice.usage.flops == 2 * once.usage.flops


async def test_blocks_are_filled_from_the_left(plain: DiffusionEngine) -> None:
    (filled,) = await fill(plain, path_request(block_length=5, num_steps=24))
    firsts = [filled.canvas.passes[i : i + 5] for i in range(0, 24, 5)]
    for before, after in pairwise(firsts):
        assert before.max() < after.min()
    assert sorted(filled.canvas.passes.tolist()) == list(range(24))


async def test_adaptive_blocks(folder: Path) -> None:
    """A threshold that nothing reaches is the fixed schedule; with 0 any delimiter in sight ends a block."""
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder), block_delimiters=("9", "7", "2", "#")))
    requests = [path_request(seed=s, num_steps=24) for s in range(12)]
    fixed = await fill(engine, *requests)
    out_of_reach = await fill(engine, *(replace_params(r, delimiter_threshold=1.0) for r in requests))
    adaptive = await fill(engine, *(replace_params(r, delimiter_threshold=0.0) for r in requests))
    orders = [[f.canvas.passes.tolist() for f in some] for some in (fixed, out_of_reach, adaptive)]
    assert orders[0] == orders[1] != orders[2]
    assert [f.canvas.tokens.tolist() for f in fixed] == [f.canvas.tokens.tolist() for f in out_of_reach]
    assert all(sorted(order) == list(range(24)) for order in orders[2])
    await engine.close()
    named = sorted(engine._denoiser._delimiter_ids)
    by_ids = DiffusionEngine(DiffusionEngineConfig(str(folder), block_delimiter_ids=named))
    again = await fill(by_ids, *(replace_params(r, delimiter_threshold=0.0) for r in requests))
    assert [f.canvas.passes.tolist() for f in again] == orders[2]
    await by_ids.close()


async def test_early_stop_leaves_the_text_as_it_is(plain: DiffusionEngine) -> None:
    requests = [path_request(seed=s, block_length=4) for s in range(30)]
    whole = await complete(plain, *requests)
    stopped = await complete(plain, *(replace_params(r, early_stop=True) for r in requests))
    assert [c.steps for c in whole] == [c.steps for c in stopped]
    assert sum(c.usage.denoising_passes for c in stopped) < sum(c.usage.denoising_passes for c in whole)
    for first, second in zip(whole, stopped, strict=True):
        assert first.usage.generated_tokens == 24 >= second.usage.generated_tokens
        assert second.usage.generated_tokens >= len(tokens(second))


async def test_the_one_step_nll_is_that_of_a_masked_canvas(engine: DiffusionEngine) -> None:
    """The mean over the canvas of -log p, all under the first pass; for one pass more, and the same text."""
    requests = MIXED[1:3]  # one of them guided
    asked = [replace(r, params=with_estimate(r.params)) for r in requests]  # type: ignore[arg-type]
    plain, filled = await fill(engine, *requests), await fill(engine, *asked)
    for request, before, after in zip(asked, plain, filled, strict=True):
        assert before.one_step_nll is None and before.canvas.tokens.tolist() == after.canvas.tokens.tolist()
        assert after.one_step_nll == pytest.approx(estimate(engine, request, after), rel=1e-4)
        more = after.usage.denoising_passes - before.usage.denoising_passes
        assert more == (2 if request.params.cfg_scale else 1)  # type: ignore[attr-defined]
    (reply,) = await complete(engine, asked[0])
    assert reply.steps[-1].one_step_nll == filled[0].one_step_nll


async def test_the_one_step_nll_is_over_the_whole_canvas(plain: DiffusionEngine) -> None:
    """As in the released script, which stops no path early: what follows the end of the text counts too."""
    requests = [path_request(seed=s, block_length=4, early_stop=True) for s in range(8)]
    stopped = await fill(plain, *requests)
    asked = [replace(r, params=with_estimate(r.params)) for r in requests]  # type: ignore[arg-type]
    assert any(f.canvas.is_masked.any() for f in stopped)
    for request, before, after in zip(asked, stopped, await fill(plain, *asked), strict=True):
        length = before.canvas.text_length
        assert after.canvas.tokens[:length].tolist() == before.canvas.tokens[:length].tolist()
        assert not after.canvas.is_masked.any() and after.usage.denoising_passes == 12 + 1
        assert after.one_step_nll == pytest.approx(estimate(plain, request, after), rel=1e-4)


def estimate(engine: DiffusionEngine, request: GenerateRequest, filled: Filled) -> float:
    """The same, computed plainly."""
    prompt = engine.loaded.tokenizer(f"{request.question}\n")["input_ids"]
    mask, tokens = engine.loaded.mask_id, torch.from_numpy(filled.canvas.tokens)
    x = torch.tensor([[*prompt, *[mask] * len(tokens)]])
    with torch.inference_mode():
        logits = logits_of(engine.loaded.model, x)
        if scale := request.params.cfg_scale:  # type: ignore[attr-defined]
            without = logits_of(engine.loaded.model, torch.full_like(x, mask))
            logits = without + (scale + 1) * (logits - without)
    logits = logits[0, len(prompt) :].double().clone()
    logits[:, mask] = -torch.inf
    return -float(torch.log_softmax(logits, dim=-1).gather(-1, tokens[:, None]).mean())


async def test_steps_are_cut_at_the_delimiter(plain: DiffusionEngine) -> None:
    """What is joined is the canvas up to its end of text; likelihoods are those of the tokens."""
    requests = [path_request(seed=s) for s in range(40)]
    seen = set()
    for request, reply, filled in zip(
        requests, await complete(plain, *requests), await fill(plain, *requests), strict=True
    ):
        canvas, ended = filled.canvas, plain.loaded.tokenizer.eos_token_id
        length = [*canvas.tokens.tolist(), ended].index(ended) + 1
        assert tokens(reply) == canvas.tokens[:length].tolist(), request.seed
        assert sum(s.logprob or 0 for s in reply.steps) == pytest.approx(canvas.logprobs[:length].sum())
        assert all(s.text.endswith("\n") and s.finish is Finish.STEP for s in reply.steps[:-1])
        assert reply.steps[-1].finish is Finish.EOS
        seen |= {("steps", len(reply.steps) > 1), ("cut", length <= 24)}
    assert len(seen) == 4  # one step and several; texts that end within the canvas and texts that fill it


async def test_a_text_ends_with_the_step_that_answers(plain: DiffusionEngine) -> None:
    requests = [path_request(seed=s, marker="#") for s in range(30)]
    pairs = list(zip(requests, await complete(plain, *requests), strict=True))
    answers = [[request.answered_by(s.text) for s in reply.steps] for request, reply in pairs]
    answering = [found for found in answers if any(found)]
    assert answering
    assert all(found[-1] and not any(found[:-1]) for found in answering)
    before = [step.text for _, reply in pairs for step in reply.steps[:-1]]
    assert any("#" in text for text in before), "an empty marker ends nothing"


async def test_a_prefix_is_part_of_the_prompt(plain: DiffusionEngine) -> None:
    ids = tuple(plain.loaded.tokenizer("5 a+1\nab", add_special_tokens=True)["input_ids"])
    whole = replace(path_request(seed=3), token_ids=ids[-2:])
    (reply,) = await complete(plain, whole)
    assert reply.usage.prompt_tokens == 12 * len(ids)
    assert reply != (await complete(plain, path_request(seed=3)))[0]


async def test_what_it_refuses(plain: DiffusionEngine) -> None:
    bad = [
        (replace(path_request(), params=Sampling()), "takes Denoising, not Sampling"),
        (replace(path_request(), to_end=False), "no single steps"),
        (path_request(remasking="no_such"), "remasking must be one of low_confidence"),
        (path_request(gen_length=0), "must be 1 or more"),
        (path_request(temperature=-1.0), "must be 0 or more"),
        (path_request(top_p=1.5), "top_p must be in (0, 1]"),
        (replace(path_request(), params=EstimatedDenoising(early_stop=True)), "needs early_stop=false"),
        (path_request("1" * 250), "tokens"),
        (replace(path_request(), token_ids=(9999,)), "9999"),
    ]
    *refused, good = await plain.generate([*(request for request, _ in bad), path_request()])
    for reply, (_, message) in zip(refused, bad, strict=True):
        assert isinstance(reply, Failure) and message in reply.message
    assert [good] == await complete(plain, path_request())
    (none,) = await plain.loglik([LoglikRequest("h", "q", "", (), ((1,),))])
    assert isinstance(none, Failure) and "no likelihoods" in none.message


async def test_a_caller_that_leaves_takes_its_paths_along(folder: Path) -> None:
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder), max_batch_size=4))
    gone = asyncio.create_task(engine.generate([path_request(seed=s, gen_length=200) for s in range(8)]))
    await asyncio.sleep(0.05)
    gone.cancel()
    (reply,) = await engine.generate([path_request(seed=1)])
    assert isinstance(reply, Completion)
    assert engine.stats()["generated_tokens"] == 24
    await engine.close()


async def test_logits_that_are_no_numbers_fail_their_path(folder: Path) -> None:
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder), cache="prefix"))
    with torch.no_grad():
        engine.loaded.model.model.embed_tokens.weight[engine.loaded.tokenizer("h")["input_ids"][-1]] = (
            torch.nan
        )
    before = await complete(engine, path_request(seed=2))
    broken, good = await engine.generate([path_request("h"), path_request(seed=2)])
    assert isinstance(broken, Failure) and broken.type == "NonFiniteLogits"
    assert [good] == before
    await engine.close()


async def test_forwards_that_fail_fail_their_paths_and_tell(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = DiffusionEngine(DiffusionEngineConfig(str(folder)))
    (good,) = await complete(engine, path_request())

    def explode(*args: object, **kwargs: object) -> None:
        raise RuntimeError("out of memory\nby 3 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(engine.loaded.model.model, "forward", explode)
        for _ in range(3):
            assert await engine.generate([path_request()]) == [
                Failure("RuntimeError", "the model failed: out of memory")
            ]
        assert not engine.healthy
    assert await complete(engine, path_request()) == [good]
    assert engine.healthy
    await engine.close()


def test_invariance_is_not_promised_where_it_cannot_be(folder: Path) -> None:
    for options in ({"dtype": "float64"}, {"batch_invariant": False}):
        engine = DiffusionEngine(DiffusionEngineConfig(str(folder), **options))  # type: ignore[arg-type]
        assert not engine.info.batch_invariant
        asyncio.run(engine.close())
    with pytest.raises(ConfigError, match=r"needs device=cpu, dtype=float32 and compile=false"):
        DiffusionEngine(DiffusionEngineConfig(str(folder), dtype="bfloat16", batch_invariant=True))


def test_delimiters_are_tokens_of_nothing_else(plain: DiffusionEngine) -> None:
    vocab_size = len(plain.loaded.tokenizer)
    detokenizer = Detokenizer(plain.loaded.tokenizer, vocab_size, frozenset())
    names = ("\n", "*")
    expected = {plain.loaded.tokenizer.convert_tokens_to_ids(name) for name in names}
    assert delimiter_ids(detokenizer, vocab_size, names) == expected


@pytest.mark.slow
async def test_a_replica_of_the_pool_answers_as_this_process(
    local_ray: None, folder: Path, plain: DiffusionEngine
) -> None:
    config = DiffusionEngineConfig(str(folder))
    async with await Pool.start(ClusterConfig(), config.build, None) as pool:
        assert pool.engine.info.batch_invariant
        assert await pool.engine.generate(MIXED) == await complete(plain, *MIXED)


def replace_params(request: GenerateRequest, **changes: Any) -> GenerateRequest:
    return replace(request, params=replace(request.params, **changes))  # type: ignore[type-var]


def tokens(reply: Completion) -> list[int]:
    return [t for step in reply.steps for t in step.token_ids]


def test_a_step_that_fills_the_canvas_ends_the_text() -> None:
    from actors.diffusion_engine.engine import _ended

    cut = Step("ab", (1, 2), finish=Finish.LENGTH)
    assert _ended(cut).finish is Finish.EOS
    assert _ended(replace(cut, finish=Finish.STEP)).finish is Finish.STEP
