"""vLLM behind our protocol: the tokens of transformers, stops where they are due, and nothing left over."""

from __future__ import annotations

import asyncio
import math
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig, PreTrainedConfig, Qwen2Config

from actors.pool.fleet import Fleet
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from actors.transformers_engine.config import TransformersEngineConfig
from actors.vllm_engine.config import VllmEngineConfig
from orchestrator.errors import ConfigError
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Failure, Loglik, LoglikRequest, OptionsRequest
from orchestrator.search.controller import Controller
from orchestrator.seeds import derive_seed
from orchestrator.tasks.chain import ChainTask
from orchestrator.testing import FakeVerifier
from orchestrator.types import Denoising, Finish, Problem, Sampling
from strategies.particle_filter import ParticleFilter
from tests.actors.shared_vllm import SMALL, Elsewhere
from tests.actors.small_models import ALPHABET, ask, byte_level_tokenizer, completed
from tests.laws import chi_square_excess

pytestmark = pytest.mark.timeout(900)
QUESTION = "94 a/2 b-36 c*2 d-20 e-1 f+70 g+8 h+15"
# Of vLLM's cache on a CPU (actors/vllm_engine/blocks.py).
BLOCK = 16 if platform.machine() in ("x86_64", "AMD64") else 32


@asynccontextmanager
async def running(config: Any) -> AsyncIterator[Any]:
    engine = config.build()
    try:
        yield engine
    finally:
        await engine.close()


async def check_parity(vllm: Any, transformers: Any, *requests: Any) -> None:
    """Greedy text is identical, and each step's log-probability to 1e-3."""
    ours, theirs = completed(await vllm.generate(requests)), completed(await transformers.generate(requests))
    for one, other in zip(ours, theirs, strict=True):
        assert [(s.text, s.token_ids, s.finish) for s in one.steps] == [
            (s.text, s.token_ids, s.finish) for s in other.steps
        ]
        assert [s.logprob for s in one.steps] == pytest.approx([s.logprob for s in other.steps], abs=1e-3)
        assert one.usage.prompt_tokens == other.usage.prompt_tokens
        assert one.usage.generated_tokens == other.usage.generated_tokens


async def test_greedy_text_is_that_of_transformers(vllm_policy: Elsewhere) -> None:
    """The shipped policy, a Llama: by steps, to the answer, to the end of text, and cut off."""
    async with running(TransformersEngineConfig("embedded:chain-policy")) as transformers:
        await check_parity(
            vllm_policy,
            transformers,
            ask(QUESTION, temperature=0.0),
            ask(QUESTION, temperature=0.0, to_end=True, max_tokens=200),
            ask(QUESTION, temperature=0.0, to_end=True, max_tokens=200, marker=None),
            ask(QUESTION, temperature=0.0, to_end=True, max_tokens=30),
            ask(QUESTION, temperature=0.0, to_end=True, max_tokens=200, delimiter="=", marker="+"),
            ask("7 a+1", temperature=0.0, to_end=True, max_tokens=200, delimiter="/2=", marker="8"),
        )


async def test_siblings_have_their_own_seeds_and_one_prefix(vllm_policy: Elsewhere) -> None:
    (first,) = completed(
        await vllm_policy.generate([ask(QUESTION, to_end=True, temperature=1.0, max_tokens=60)])
    )
    prefix = tuple(t for s in first.steps for t in s.token_ids)[:50]
    requests = [ask(QUESTION, token_ids=prefix, seed=s, temperature=2.0) for s in range(16)]
    replies = completed(await vllm_policy.generate(requests))
    assert len({r.steps[0].token_ids for r in replies}) > 4
    whole_blocks = (replies[0].usage.prompt_tokens - 1) // BLOCK * BLOCK
    assert {r.usage.cached_tokens for r in replies[1:]} == {whole_blocks}, [r.usage for r in replies]


async def test_a_burst_of_new_prefixes_is_read_whole(vllm_policy: Elsewhere) -> None:
    """More tokens than vLLM takes into one batch: on a CPU a seeded prompt that is read in parts kills it."""
    rng = np.random.default_rng(0)
    prefixes = [tuple(rng.integers(3, 29, 150).tolist()) for _ in range(48)]
    requests = [ask(QUESTION, token_ids=p, seed=s, temperature=1.0) for s, p in enumerate(prefixes)]
    together = completed(await vllm_policy.generate(requests))
    (alone,) = completed(await vllm_policy.generate(requests[-1:]))
    assert together[-1].steps[0].token_ids == alone.steps[0].token_ids


async def test_a_full_context_ends_the_trajectory_and_not_the_run(vllm_policy: Elsewhere) -> None:
    """The shipped model reads 256 tokens: a trajectory that fills them ends, one beyond them is refused."""
    prefix = (19,) * 200
    long, longer, fine = await vllm_policy.generate(
        [
            ask(QUESTION, token_ids=prefix, to_end=True, max_tokens=500, delimiter="@", marker=None),
            ask(QUESTION, token_ids=prefix * 2),
            ask(QUESTION),
        ]
    )
    (end,) = completed([long])
    assert end.steps[-1].finish is Finish.LENGTH
    assert end.usage.prompt_tokens + end.usage.generated_tokens <= 256
    assert isinstance(longer, Failure)
    assert longer.type == "ContextOverflow"
    assert "255" in longer.message
    assert completed([fine])


async def test_what_it_cannot_do_fails_alone(vllm_policy: Elsewhere) -> None:
    canvas = ask(QUESTION)
    object.__setattr__(canvas, "params", Denoising(8, 64, 8))
    requests = [canvas, ask(QUESTION), ask(QUESTION, delimiter=""), ask(QUESTION, temperature=2.5)]
    replies = await vllm_policy.generate(requests)
    assert [isinstance(r, Failure) for r in replies] == [True, False, True, True]
    assert "takes Sampling, not Denoising" in replies[0].message  # type: ignore[union-attr]


async def test_cancelling_takes_the_requests_out_of_the_engine(vllm_policy: Elsewhere) -> None:
    llm, before = vllm_policy.inner._started.llm, vllm_policy.inner.progress
    long = ask(QUESTION, to_end=True, temperature=0.0, max_tokens=200, marker=None)
    task = asyncio.create_task(vllm_policy.generate([long] * 8))
    while not task.done() and vllm_policy.inner.progress == before:
        await asyncio.sleep(0.001)
    assert llm.get_num_unfinished_requests() == 8
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(60):
        while llm.get_num_unfinished_requests():
            await asyncio.sleep(0.01)


async def test_options_have_the_likelihoods_of_their_tokens(vllm_policy: Elsewhere) -> None:
    """And what vLLM's blocks hold of the prefix is reported as cached."""
    (reply,) = completed(await vllm_policy.generate([ask(QUESTION, to_end=True, max_tokens=60)]))
    ids = tuple(t for s in reply.steps for t in s.token_ids if s.finish is Finish.STEP)
    asked = OptionsRequest("p", QUESTION, "", ids, (), asked="", options=("#", "a", "1"))
    single = [LoglikRequest("p", QUESTION, "", ids, ((3 + ALPHABET.index(o),),)) for o in asked.options]
    first, again, *each = await vllm_policy.loglik([asked]) + await vllm_policy.loglik([asked, *single])
    assert isinstance(first, Loglik) and isinstance(again, Loglik)
    assert first.logprobs == pytest.approx([r.logprobs[0] for r in each if isinstance(r, Loglik)], abs=1e-4)
    assert first.logprobs == pytest.approx(again.logprobs, abs=1e-4)
    assert again.usage.cached_tokens > 0


async def test_progress_counts_what_was_generated_and_read(vllm_policy: Elsewhere) -> None:
    before = vllm_policy.inner.progress
    (reply,) = completed(await vllm_policy.generate([ask(QUESTION, to_end=True, max_tokens=60)]))
    generated = vllm_policy.inner.progress - before
    assert generated >= reply.usage.generated_tokens
    request = LoglikRequest("p", QUESTION, "", (), tuple(s.token_ids for s in reply.steps))
    await vllm_policy.loglik([request])
    assert vllm_policy.inner.progress - before - generated >= reply.usage.generated_tokens


@pytest.mark.slow
async def test_through_the_pool_texts_run_ahead(local_ray: None) -> None:
    """In a Ray actor, whose threads and environment are others; the sampler is that of positions."""
    config = VllmEngineConfig("embedded:chain-policy", logprobs=False, sampler="stream", args=SMALL)
    async with await Pool.start(ClusterConfig(start_timeout_s=800), config.build) as pool:
        engine = pool.engine
        assert (engine.info.sampler, engine.info.batch_invariant) == ("stream", False)
        await check_steps_are_the_whole(engine)
        await check_draws(engine)
        before = await engine.release("home")
        assert before.speculated_tokens > 0
        assert before == pool.overhead
        problems = [Problem(str(i), f"{i} a+1 b*2 c-3", "") for i in range(8)]
        strategy = ParticleFilter(num_particles=8, max_steps=4, sampling=Sampling(1.5, 0.9, 40))
        results: list[ProblemResult] = []
        controller = Controller(strategy, engine, FakeVerifier(_by_digest), ChainTask())
        await controller.run(problems, results.append)
        assert [r.error for r in results] == [None] * 8
        assert all(r.overhead.speculated_tokens > 0 for r in results)
        assert sum((r.overhead for r in results), before) == pool.overhead


async def check_steps_are_the_whole(engine: Any) -> None:
    """A text by steps is the text in one go under the same seed, whatever ran ahead or was left."""
    seeds = range(12)
    hot = {"temperature": 1.5, "top_p": 0.95, "max_tokens": 60}
    whole = completed(await engine.generate([ask(QUESTION, seed=s, to_end=True, **hot) for s in seeds]))
    texts: dict[int, tuple[Any, ...]] = dict.fromkeys(seeds, ())
    going = list(seeds)

    def goes_on(steps: tuple[Any, ...]) -> bool:
        open_ended = steps[-1].finish is Finish.STEP and "#" not in steps[-1].text
        return open_ended and sum(len(s.token_ids) for s in steps) < 60

    while going:
        prefixes = {s: tuple(t for step in texts[s] for t in step.token_ids) for s in going}
        rows = [
            ask(QUESTION, seed=s, token_ids=ids, **{**hot, "max_tokens": 60 - len(ids)})
            for s, ids in prefixes.items()
        ]
        for s, reply in zip(going, completed(await engine.generate(rows)), strict=True):
            texts[s] += reply.steps
        going = [s for s in going if goes_on(texts[s])]
    assert [tuple(s.token_ids for s in texts[i]) for i in seeds] == [
        tuple(s.token_ids for s in reply.steps) for reply in whole
    ]
    assert len(set(texts.values())) > 6


async def check_draws(engine: Any) -> None:
    """A token's frequencies are the model's probabilities at that temperature (chi-square)."""
    num, first = 1000, (19,) * 5  # nonsense, after which the model is not sure of what follows
    hot = [ask(QUESTION, seed=s, token_ids=first, temperature=2.0, max_tokens=1) for s in range(num)]
    drawn = Counter(r.steps[0].token_ids[0] for r in completed(await engine.generate(hot)))
    rows = [LoglikRequest("home", QUESTION, "", first, ((t,),)) for t in range(3, 29)]
    weights = [math.exp(r.logprobs[0] / 2.0) for r in await engine.loglik(rows)]
    shares = {t: w / sum(weights) for t, w in zip(range(3, 29), weights, strict=True)}
    likely = {t: p for t, p in shares.items() if p * num >= 5}
    assert len(likely) > 3
    counts = {t: drawn[t] for t in likely} | {-1: num - sum(drawn[t] for t in likely)}
    assert chi_square_excess(counts, likely | {-1: 1.0 - sum(likely.values())}) < 5


def _by_digest(question: str, steps: tuple[str, ...]) -> float:
    return 0.1 + 0.8 * derive_seed(question, *steps) / 2**63


def engine_core_of(pid: int) -> int:
    """The process in which vLLM computes, among the children of an actor."""
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # others come and go
            if any("EngineCore" in word for word in child.cmdline()):
                return int(child.pid)
    raise AssertionError(f"{pid} has no engine core")


@pytest.mark.slow
async def test_a_dead_engine_is_replaced(local_ray: None) -> None:
    """vLLM's own process dies inside a living actor: the actor exits, and another answers the request."""
    config = VllmEngineConfig("embedded:chain-policy", args=SMALL)
    cluster = ClusterConfig(start_timeout_s=800)
    async with await Pool.start(cluster, config.build) as pool:
        (before,) = completed(await pool.engine.generate([ask(QUESTION, temperature=0.0)]))
        (pid,) = pool.pids().values()
        os.kill(engine_core_of(pid), 9)
        (after,) = completed(await pool.engine.generate([ask(QUESTION, temperature=0.0)]))
        assert after.steps[0].token_ids == before.steps[0].token_ids
        assert isinstance(pool.engine.fleet, Fleet)
        assert pool.pids() != {"engine-0": pid}


SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.15,
}


@pytest.mark.slow
@pytest.mark.parametrize("config_class", [Qwen2Config, MistralConfig])
async def test_parity_on_other_architectures(config_class: type[PreTrainedConfig], tmp_path: Path) -> None:
    """Byte-level BPE, with a delimiter of two characters that may be one token, two, or a part of one."""
    tokenizer = byte_level_tokenizer()
    tokenizer.model_max_length = 256
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    config = config_class(vocab_size=len(tokenizer), **SIZES, **special)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    prompts = ["the step is done.\n\n", "so x = 3,\n\nas", "café"]
    requests = [
        ask(p, temperature=0.0, delimiter=delimiter, marker=marker, to_end=to_end, max_tokens=120)
        for p in prompts
        for delimiter, marker in (("\n\n", None), ("\n\n", "x"), ("e", None), (" ", "s"))
        for to_end in (False, True)
    ]
    configs = TransformersEngineConfig(str(tmp_path)), VllmEngineConfig(str(tmp_path), args=SMALL)
    async with running(configs[0]) as transformers, running(configs[1]) as vllm:
        await check_parity(vllm, transformers, *requests)


@pytest.mark.slow
async def test_thought_ends_with_its_budget(policy: Path) -> None:
    """``#`` opens a thought here and ``*`` ends it: the model is made to write it, also steps later."""
    config = VllmEngineConfig(
        str(policy),
        thinking_budget=6,
        thinking_start="#",
        thinking_end="*",
        args=SMALL,
        template="{question}#",
    )
    async with running(config) as engine:
        whole = ask("5 a+1", temperature=0.0, to_end=True, max_tokens=12, delimiter="@", marker=None)
        (reply,) = completed(await engine.generate([whole]))
        end = engine._started.tokenizer.convert_tokens_to_ids("*")
        assert reply.steps[0].token_ids.index(end) == 6
        halfway = reply.steps[0].token_ids[:4]
        later = ask(
            "5 a+1", token_ids=halfway, temperature=0.0, to_end=True, max_tokens=8, delimiter="@", marker=None
        )
        (rest,) = completed(await engine.generate([later]))
        assert rest.steps[0].token_ids.index(end) == 2


def test_argument_names_are_those_of_vllm() -> None:
    from dataclasses import fields

    from vllm import AsyncEngineArgs

    from actors.vllm_engine.arguments import argument_names

    assert argument_names() == {f.name for f in fields(AsyncEngineArgs)}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            {"block_sise": 32},
            "engine.args.block_sise=32: vLLM has no such argument; did you mean 'block_size'?",
        ),
        ({"max_model_len": 512}, "engine.args.max_model_len=512: set engine.max_context"),
        ({"runner": "pooling"}, "engine.args.runner=pooling: is set by the way vLLM is used"),
    ],
)
def test_arguments_are_checked_before_anything_loads(args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VllmEngineConfig("embedded:chain-policy", args=args)
    assert str(caught.value) == message


def test_checking_imports_neither_vllm_nor_torch() -> None:
    code = (
        "import sys; from actors import VllmEngineConfig, VllmVerifierConfig;"
        "VllmEngineConfig('embedded:chain-policy', args={'block_size': 32});"
        "VllmVerifierConfig('embedded:chain-verifier');"
        "sys.exit(bool({'vllm', 'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=100).returncode == 0
