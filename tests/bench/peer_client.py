"""The particle filter of its_hub 1.2.0 on a server: run by ``bench_peer``, with a Python that has its_hub.

One line of JSON comes in (``Work``), one goes out: the seconds from the first request to the last answer.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from its_hub.api import AbstractProcessRewardModel
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
from its_hub.core.lms.step_generation import StepGeneration

from orchestrator.seeds import derive_seed


@dataclass(frozen=True)
class Work:
    """What to search, and where; ``concurrency`` problems at a time."""

    url: str
    key: str
    model: str
    questions: Sequence[str]
    particles: int
    steps: int
    step_tokens: int
    concurrency: int
    temperature: float


class FreeRewards(AbstractProcessRewardModel):  # type: ignore[misc]
    """Rewards that cost nothing and differ, as those of ``bench_engine.FreeVerifier``."""

    async def ascore(self, prompt_or_messages: Any, steps: Sequence[str]) -> list[float]:
        return [1.0 / (1.0 + math.exp(1.0 - derive_seed(text) / 2**62)) for text in steps]

    def score(self, prompt_or_messages: Any, steps: Sequence[str]) -> list[float]:
        raise NotImplementedError("particle filtering asks ascore")


async def run(work: Work) -> float:
    """Seconds for all the questions."""
    # They take one step more than they are asked for.
    steps = StepGeneration(
        max_steps=work.steps - 1, tokens_per_step=work.step_tokens, temperature=work.temperature
    )
    filtering = ParticleFiltering(steps, FreeRewards())
    policy = OpenAICompatibleLanguageModel(work.url, work.key, work.model)
    limit = asyncio.Semaphore(work.concurrency)

    async def solve(question: str) -> None:
        async with limit:
            await filtering.ainfer(policy, question, work.particles)

    begun = time.perf_counter()
    await asyncio.gather(*map(solve, work.questions))
    return time.perf_counter() - begun


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # their own deprecations
    print(json.dumps({"seconds": asyncio.run(run(Work(**json.loads(sys.stdin.readline()))))}))
