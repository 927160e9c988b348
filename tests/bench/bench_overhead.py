"""What orchestration costs: ``python -m tests.bench.bench_overhead``.

The same particle filter on the same problems, twice in turn: through Ray, session, controller and result
files, and by a bare loop that calls the same engines in this process with the same batching (as many
problems in flight, the same calls). Loading is in neither figure. The ratio is taken pair by pair.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console

from actors.pool.cluster import start_ray, stop_ray
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Completion, Engine, GenerateRequest, ScoreReply, ScoreRequest, Verifier
from orchestrator.search.controller import Controller
from orchestrator.seeds import derive_seed
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import ResultLog
from orchestrator.tasks.chain import ChainTask
from orchestrator.types import Problem, Sampling, Step
from strategies.particle_filter import ParticleFilter

TASK = ChainTask()
PARAMS = Sampling(temperature=0.8, max_tokens=16)


async def bare_filter(problem: Problem, engine: Engine, verifier: Verifier, num_particles: int) -> int:
    """The particle filter with nothing around it; returns the number of generated tokens."""
    particles: list[list[Step]] = [[] for _ in range(num_particles)]
    rewards = np.zeros(num_particles)
    rng, num_tokens = np.random.default_rng(0), 0
    for call in range(10):
        rows = [i for i, p in enumerate(particles) if not p or not p[-1].text.startswith("#")]
        if not rows:
            break
        if call:
            weights = np.exp(rewards - rewards.max())
            chosen = rng.choice(num_particles, num_particles, p=weights / weights.sum())
            particles, rewards = [list(particles[i]) for i in chosen], rewards[chosen]
            rows = [i for i, p in enumerate(particles) if not p[-1].text.startswith("#")]
        replies = await engine.generate([_request(problem, particles[i], call, i) for i in rows])
        for i, reply in zip(rows, replies, strict=True):
            assert isinstance(reply, Completion)
            particles[i].append(reply.steps[0])
            num_tokens += reply.usage.generated_tokens
        texts = [tuple(s.text for s in particles[i]) for i in rows]
        scores = await verifier.score(
            [ScoreRequest(problem.id, problem.question, t, len(t) - 1) for t in texts]
        )
        for i, score in zip(rows, scores, strict=True):
            assert isinstance(score, ScoreReply)
            rewards[i] = score.rewards[-1].log_odds
    return num_tokens


def _request(problem: Problem, steps: list[Step], call: int, row: int) -> GenerateRequest:
    return GenerateRequest(
        home=problem.id,
        question=problem.question,
        instruction="",
        token_ids=tuple(t for s in steps for t in s.token_ids),
        params=PARAMS,
        seed=derive_seed(problem.id, call, row),
        delimiter=TASK.delimiter,
        answer_marker=TASK.answer_marker,
    )


async def run_bare(
    engine: Engine, verifier: Verifier, args: argparse.Namespace, offset: int
) -> tuple[float, int]:
    """Seconds and tokens of the bare loop."""
    source = TASK.problems(offset, args.problems)

    async def work() -> int:
        return sum([await bare_filter(p, engine, verifier, args.particles) for p in source])

    begun = time.perf_counter()
    num_tokens = await asyncio.gather(*(work() for _ in range(args.concurrency)))
    return time.perf_counter() - begun, sum(num_tokens)


async def run_orchestrated(pool: Pool, args: argparse.Namespace, offset: int) -> tuple[float, int]:
    """Seconds and tokens through everything that a run has, result files included."""
    strategy = ParticleFilter(num_particles=args.particles, max_steps=10, sampling=PARAMS)
    controller = Controller(strategy, pool.engine, pool.verifier, TASK, concurrency=args.concurrency)
    num_tokens = 0
    with tempfile.TemporaryDirectory() as folder:
        log = ResultLog(Path(folder))

        def on_result(result: ProblemResult) -> None:
            nonlocal num_tokens
            log.append(result_line(result))
            num_tokens += result.usage.generated_tokens

        begun = time.perf_counter()
        await controller.run(TASK.problems(offset, args.problems), on_result)
        seconds = time.perf_counter() - begun
        log.close()
    return seconds, num_tokens


async def compare(args: argparse.Namespace, console: Console) -> None:
    engine_config = TransformersEngineConfig("embedded:chain-policy", template="{question}\n")
    verifier_config = TransformersVerifierConfig("embedded:chain-verifier")
    torch.set_num_threads(1)  # as each replica has
    engine, verifier = engine_config.build(), verifier_config.build()
    ratios = []
    async with await Pool.start(ClusterConfig(), engine_config.build, verifier_config.build) as pool:
        for i in range(-1, args.pairs):
            offset = (i + 1) * args.problems
            bare, bare_tokens = await run_bare(engine, verifier, args, offset)
            full, full_tokens = await run_orchestrated(pool, args, offset)
            ratio = (full / full_tokens) / (bare / bare_tokens)
            console.print(
                f"{'warm-up' if i < 0 else f'pair {i + 1}'}: bare {bare_tokens / bare:,.0f} tokens/s, "
                f"orchestrated {full_tokens / full:,.0f} tokens/s, time a token {ratio:.3f}"
            )
            if i >= 0:
                ratios.append(ratio)
    await engine.close()
    await verifier.close()
    console.print(f"median ratio {median(ratios):.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=5)
    start_ray(ClusterConfig())
    try:
        asyncio.run(compare(parser.parse_args(), Console()))
    finally:
        stop_ray()


if __name__ == "__main__":
    main()
