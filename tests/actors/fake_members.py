"""Replicas without processes: what a fleet does with them is then a matter of microseconds."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from actors.pool.counting import Tokens
from actors.pool.fleet import Fleet
from actors.pool.jobs import Died, Life
from actors.pool.placement import ClusterConfig, ReplicaSpec
from actors.pool.replica import Raised, ReplicaInfo
from orchestrator.protocols import Method, ModelInfo, Sampler
from orchestrator.types import Overhead

Answer = Callable[["FakeMember", Life, Sequence[Any]], Awaitable[list[Any] | Raised | Died]]


@dataclass(eq=False)
class FakeMember:
    """A member whose calls are answered by ``answer``; it is ready at once, and joins at once.

    A call that is cancelled has ``spent`` tokens, and ``in_vain`` were made ahead, by problem.
    """

    name: str
    spec: ReplicaSpec
    config: ClusterConfig
    on_change: Callable[[], None]
    answer: Answer
    sampler: Sampler = "step"
    spent: int = 0
    in_vain: Counter[str] = field(default_factory=Counter)
    life: Life | None = None
    lost: str | None = None
    closed: bool = False
    num_deaths: int = 0
    is_out: bool = False
    tokens: Tokens = field(default_factory=Tokens)
    calls: list[Sequence[Any]] = field(default_factory=list)

    async def start(self) -> None:
        self._begin()

    def join_later(self) -> None:
        self.is_out = False
        self._begin()

    def _begin(self) -> None:
        end = asyncio.get_running_loop().create_future()
        info = ReplicaInfo(1, self.name, "node", ModelInfo(True, self.sampler))
        self.life = Life(info, end, last_progress=time.monotonic())
        self.lost = None
        self.on_change()

    def idle_s(self, now: float) -> float:
        return now - self.life.last_progress if self.life is not None and not self.life.num_rows else 0.0

    async def call(self, life: Life, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Died:
        self.calls.append(requests)
        try:
            replies = await self.answer(self, life, requests)
        finally:
            life.last_progress = time.monotonic()
        if isinstance(replies, list):
            self.tokens.add(replies)
        return replies

    async def spent_on(self, life: Life, requests: Sequence[Any]) -> int:
        await asyncio.sleep(0)  # a pulse takes a while
        return self.spent

    async def release(self, home: str) -> Overhead:
        await asyncio.sleep(0)
        return Overhead(speculated_tokens=self.in_vain.pop(home, 0))

    def die(self, life: Life, num_lost: int) -> Died:
        """Its life ends, with tokens that no reply has, and the next one begins."""
        life.rows_at_death, life.tokens_seen = life.num_rows, life.tokens_delivered + num_lost
        self._begin()
        return Died(self.name, life, alone=False, message="a death")

    async def leave(self, reason: str) -> None:
        self.life, self.is_out, self.lost = None, True, f"{self.name} {reason}"
        self.on_change()

    async def give_back(self, reason: str) -> None:
        await self.leave(reason)

    async def close(self) -> None:
        await self.leave("is closed")


def fake_fleet(
    answer: Answer, num: int = 2, num_extra: int = 0, sampler: Sampler = "step", **keys: Any
) -> Fleet:
    spec = ReplicaSpec("engine", object, num, num_extra=num_extra)

    def make(name: str, spec: ReplicaSpec, config: ClusterConfig, on_change: Callable[[], None]) -> Any:
        return FakeMember(name, spec, config, on_change, answer, sampler)

    return Fleet(spec, ClusterConfig(**keys), make)
