"""How much of vLLM's speed a search keeps: ``python -m tests.bench.bench_engine``.

A particle filter (64 problems x 8 particles x 8 steps of 12 tokens) with a verifier that costs nothing,
through session, controller, Ray and result files, over as many tokens through bare vLLM with every request
known in advance: each particle's 96 tokens in one request, all submitted at once. Between the two stands the
same search with the engine in this process, without Ray. All three use the same model (3.2 M parameters,
random; ``--shape`` takes a real size), the same arguments of vLLM and the same machine, in turn; loading is
in none of the figures. With ``--sampler stream`` the search's texts run ahead of it; tokens that it left
count for nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, get_args

import torch
from rich.console import Console
from transformers import LlamaForCausalLM

from actors.embedded.models import build_tokenizer, llama_config
from actors.pool.cluster import start_ray, stop_ray
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from actors.text.generation import Generation
from actors.vllm_engine import engine as engines
from actors.vllm_engine.config import VllmEngineConfig
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import (
    Completion,
    Engine,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    Sampler,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.search.controller import Controller
from orchestrator.seeds import derive_seed
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import ResultLog
from orchestrator.tasks.chain import ChainTask
from orchestrator.types import Finish, Overhead, Problem, Reward, Sampling, Usage
from strategies.particle_filter import ParticleFilter
from tests.bench.shapes import SHAPES, save_random

ALPHABET = "\n #*+-/0123456789=abcdefgh"


@dataclass(frozen=True)
class Questions:
    """The chain task's questions; steps have a length and no text that ends them, and there is no answer."""

    delimiter: str = "\0"
    answer_marker: str | None = None
    instruction: str = ""
    num_problems: int = 10_000

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        return ChainTask().problems(offset, limit)

    def extract(self, text: str) -> str | None:
        return None

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return list(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return False


class Endless(engines.VllmEngine):
    """A text that was cut at its step's length is gone on with all the same."""

    def _goes_on(self, generation: Generation) -> bool:
        return True


class StepsOfALength(EngineBase):
    """An engine whose steps end after ``max_tokens``: the model is random, and writes no delimiter."""

    def __init__(self, inner: Endless) -> None:
        self.inner = inner
        self.num_wasted = 0

    @property
    def info(self) -> ModelInfo:
        return replace(self.inner.info, batch_invariant=False)

    async def release(self, home: str) -> Overhead:
        wasted = await self.inner.release(home)
        self.num_wasted += wasted.speculated_tokens
        return wasted

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [_as_a_step(reply) for reply in await self.inner.generate(requests)]

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return await self.inner.loglik(requests)

    async def close(self) -> None:
        await self.inner.close()


def _as_a_step(reply: Completion | Failure) -> Completion | Failure:
    if isinstance(reply, Failure):
        return reply
    (step,) = reply.steps
    return Completion((replace(step, finish=Finish.STEP),), reply.usage)


class FreeVerifier(VerifierBase):
    """Rewards that cost nothing and differ: every step resamples."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [ScoreReply(tuple(map(_reward, r.steps[r.num_locked :])), Usage()) for r in requests]


def _reward(text: str) -> Reward:
    return Reward(derive_seed(text) / 2**62 - 1.0)


def build_engine(config: VllmEngineConfig) -> StepsOfALength:
    return StepsOfALength(Endless(**asdict(config)))


def save_model(folder: Path, shape: str | None) -> None:
    """3.2 M parameters, or a real shape; the tokenizer has no end of text, so that nothing ends early."""
    tokenizer = build_tokenizer(ALPHABET)
    if shape is not None:
        tokenizer.eos_token = None
        save_random(folder, SHAPES[shape], tokenizer)
        return
    torch.manual_seed(0)
    config = llama_config(tokenizer, width=256, num_layers=4)
    config.eos_token_id = None
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class Size:
    problems: int
    particles: int
    steps: int
    step_tokens: int

    @property
    def num_tokens(self) -> int:
        return self.problems * self.particles * self.steps * self.step_tokens


async def run_bare(engine: Any, size: Size, offset: int) -> float:
    """Seconds for all the tokens, each particle's in one request."""
    whole = Sampling(0.8, 1.0, size.steps * size.step_tokens)
    requests = [
        GenerateRequest(p.id, p.question, "", (), whole, derive_seed(p.id, i), "\0", None, to_end=True)
        for p in Questions().problems(offset, size.problems)
        for i in range(size.particles)
    ]
    begun = time.perf_counter()
    replies = await engine.generate(requests)
    seconds = time.perf_counter() - begun
    _check(sum(r.usage.generated_tokens for r in replies if isinstance(r, Completion)), size)
    return seconds


async def run_search(engine: Engine, size: Size, offset: int) -> float:
    """Seconds for as many tokens in a search, with everything that a run has."""
    sampling = Sampling(0.8, 1.0, size.step_tokens)
    strategy = ParticleFilter(num_particles=size.particles, max_steps=size.steps, sampling=sampling)
    controller = Controller(strategy, engine, FreeVerifier(), Questions(), concurrency=size.problems)
    num_tokens = 0
    with tempfile.TemporaryDirectory() as folder:
        log = ResultLog(Path(folder))

        def on_result(result: ProblemResult) -> None:
            nonlocal num_tokens
            assert result.error is None, result.error
            log.append(result_line(result))
            num_tokens += result.usage.generated_tokens

        begun = time.perf_counter()
        await controller.run(Questions().problems(offset, size.problems), on_result)
        seconds = time.perf_counter() - begun
        log.close()
    _check(num_tokens, size)
    return seconds


def _check(num_tokens: int, size: Size) -> None:
    assert num_tokens == size.num_tokens, f"{num_tokens} tokens, not {size.num_tokens}"


async def compare(size: Size, rounds: int, config: VllmEngineConfig, gpus: float, console: Console) -> None:
    engine = replace(config, sampler="step").build()
    search = build_engine(config)
    shares: dict[str, list[float]] = {"in this process": [], "through Ray": []}
    cluster = ClusterConfig(threads_per_replica=1, start_timeout_s=900, gpus_per_replica=gpus)
    async with await Pool.start(cluster, partial(build_engine, config)) as pool:
        for i in range(-1, rounds):
            offset = (i + 1) * size.problems
            bare = await run_bare(engine, size, offset)
            here = await run_search(search, size, offset)
            there = await run_search(pool.engine, size, offset)
            label = "warm-up" if i < 0 else f"round {i + 1}"
            console.print(
                f"{label}: bare {size.num_tokens / bare:,.0f} tokens/s, in this process "
                f"{size.num_tokens / here:,.0f}, through Ray {size.num_tokens / there:,.0f}"
            )
            if i >= 0:
                shares["in this process"].append(bare / here)
                shares["through Ray"].append(bare / there)
        wasted = pool.overhead.speculated_tokens / ((rounds + 1) * size.num_tokens)
    console.print(f"{config.sampler} sampler: of 100 tokens {100 * wasted:.1f} more were made in vain")
    await engine.close()
    await search.close()
    for name, values in shares.items():
        console.print(f"{name}: median {median(values):.2f} of bare ({min(values):.2f} to {max(values):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--step-tokens", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block-size", type=int, help="of vLLM's cache, in tokens; ours by default")
    parser.add_argument("--sampler", choices=get_args(Sampler), default="step")
    parser.add_argument("--lookahead", type=int, default=64, help="tokens that a stream runs ahead")
    parser.add_argument("--stream-interval", type=int, help="tokens that vLLM tells of at once; 1 by default")
    parser.add_argument("--logprobs", action="store_true", help="ask for them, as a run does by default")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of a real size")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    size = Size(options.problems, options.particles, options.steps, options.step_tokens)
    start_ray(ClusterConfig())
    try:
        with tempfile.TemporaryDirectory() as folder:
            save_model(Path(folder), options.shape)
            args: dict[str, Any] = {"max_num_seqs": 512}
            if options.device == "cuda":  # three engines share the card
                args["kv_cache_memory_bytes"] = 4 * 2**30
            if options.block_size:
                args["block_size"] = options.block_size
            if options.stream_interval:
                args["stream_interval"] = options.stream_interval
            config = VllmEngineConfig(
                folder,
                logprobs=options.logprobs,
                sampler=options.sampler,
                lookahead=options.lookahead,
                dtype="bfloat16" if options.shape else "float32",
                args=args,
            )
            gpus = 0.3 if options.device == "cuda" else 0.0
            asyncio.run(compare(size, options.rounds, config, gpus, Console()))
    finally:
        stop_ray()


if __name__ == "__main__":
    main()
