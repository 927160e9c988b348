"""How a run stops: calls in flight may finish, and no new call is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from orchestrator.protocols import NO_REPLICA, Failure


class _OfProblem(Protocol):
    """A request of a problem."""

    @property
    def problem_id(self) -> str: ...


Request = TypeVar("Request", bound=_OfProblem)
Reply = TypeVar("Reply")


class Gate:
    """Sits between a run's problems and its models. Open, it counts calls; closed, it blocks new requests.

    A search that reaches a closed gate waits there until it is cancelled. It cannot distinguish that from a
    slow model, so it decides nothing differently from when the run resumes. The gate closes by itself when no
    replica is left.
    """

    def __init__(self) -> None:
        self.closed = False
        self.broken: str | None = None
        self._broke = asyncio.Event()
        self._num_in_flight = 0
        self._open: set[str] = set()
        self._waiting: set[str] = set()
        self._changed = asyncio.Event()

    @property
    def num_open(self) -> int:
        """The number of problems that have started and not ended."""
        return len(self._open)

    def close(self) -> None:
        """Block new requests and new problems from now on."""
        self.closed = True

    def break_off(self, reason: str) -> None:
        """Close the gate because no replica is left; ``broken`` is then ``reason``."""
        self.closed, self.broken = True, self.broken or reason
        self._broke.set()

    async def breaks(self) -> None:
        """Wait until the gate is broken off."""
        await self._broke.wait()

    @contextmanager
    def problem(self, problem_id: str) -> Iterator[None]:
        """Count a problem as open inside the block."""
        self._open.add(problem_id)
        try:
            yield
        finally:
            self._open.discard(problem_id)
            self._changed.set()

    @contextmanager
    def resting(self, problem_id: str) -> Iterator[None]:
        """Do not wait for a problem inside the block: it waits for other problems."""
        self._open.discard(problem_id)
        self._changed.set()
        try:
            yield
        finally:
            self._open.add(problem_id)

    async def begin(self) -> None:
        """Return at once while the gate is open, else never: called before a problem starts."""
        if self.closed:
            await asyncio.get_running_loop().create_future()

    async def ask(
        self, method: Callable[[Sequence[Request]], Awaitable[list[Reply]]], requests: Sequence[Request]
    ) -> list[Reply]:
        """Return ``method(requests)``; wait until cancelled if the gate is closed or no replica is left."""
        if not self.closed:
            replies = await self._counted(method, requests)
            lost = next((r for r in replies if isinstance(r, Failure) and r.type == NO_REPLICA), None)
            if lost is None:
                return replies
            self.break_off(lost.message)
        self._waiting.update(r.problem_id for r in requests)
        self._changed.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("this wait only ends by cancellation")

    async def _counted(
        self, method: Callable[[Sequence[Request]], Awaitable[list[Reply]]], requests: Sequence[Request]
    ) -> list[Reply]:
        self._num_in_flight += 1
        try:
            return await method(requests)
        finally:
            self._num_in_flight -= 1
            self._changed.set()

    async def drained(self) -> None:
        """Wait until no call is in flight and every open problem waits at the gate."""
        while self._num_in_flight or not self._open <= self._waiting:
            self._changed.clear()
            await self._changed.wait()
