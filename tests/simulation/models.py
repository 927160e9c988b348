"""The fakes of a simulated replica: their replies are those of the shipped fakes, worked at for a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from orchestrator.protocols import (
    Completion,
    EngineBase,
    GenerateRequest,
    LoglikRequest,
    ModelInfo,
    Sampler,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.testing import FakeEngine, FakeVerifier
from orchestrator.types import Overhead
from tests.simulation.cluster import Cluster

_NUM_BEATS, _NUM_AHEAD = 3, 2


@cache
def completed(request: GenerateRequest, sampler: Sampler) -> Completion:
    """The reply to a request, which is the same in every schedule."""
    return FakeEngine(sampler=sampler)._complete(request)


@dataclass(eq=False)
class Model(EngineBase, VerifierBase):
    """An engine and a verifier that takes its time: tokens are made bit by bit, and counted as they are.

    With the sampler ``stream`` it runs ahead: after each reply it makes two tokens that nobody asks for.
    """

    sampler: Sampler = "step"
    progress: int = 0
    ahead: Counter[str] = field(default_factory=Counter)
    cluster: Cluster = field(init=False)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, sampler=self.sampler)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion]:
        return await self.work_at(requests)

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Any]:
        await self._wait()
        return await FakeEngine().loglik(requests)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Any]:
        await self._wait()
        return await FakeVerifier().score(requests)

    async def release(self, home: str) -> Overhead:
        return Overhead(speculated_tokens=self.ahead.pop(home, 0))

    async def work_at(self, requests: Sequence[Any]) -> list[Any]:
        """The replies to requests of any kind; after a beat a part of their tokens is made."""
        if not isinstance(requests[0], GenerateRequest):
            return []
        replies = [completed(request, self.sampler) for request in requests]
        num_left = sum(reply.usage.generated_tokens for reply in replies)
        for beat in range(_NUM_BEATS, 0, -1):
            await self._wait(1 / _NUM_BEATS)
            self._count(num_left // beat)
            num_left -= num_left // beat
        if self.sampler == "stream":
            self.ahead[requests[0].home] += _NUM_AHEAD
            self._count(_NUM_AHEAD)
        return replies

    def _count(self, num_tokens: int) -> None:
        self.progress += num_tokens
        self.cluster.made += num_tokens

    async def _wait(self, share: float = 1.0) -> None:
        latency_s = self.cluster.latency_s
        await asyncio.sleep(share * min(3 * latency_s, self.cluster.rng.expovariate(1 / latency_s)))
