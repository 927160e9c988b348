"""How a run comes to a stop: what is in flight may come back, and nothing new is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from orchestrator.protocols import NO_REPLICA, Failure, GenerateRequest, LoglikRequest, ScoreRequest

Request = TypeVar("Request", GenerateRequest, LoglikRequest, ScoreRequest)
Reply = TypeVar("Reply")


class Gate:
    """Stands between a run's problems and its models. Open, it counts; closed, it lets nobody through.

    A search that comes to a closed gate waits there until it is cancelled: it cannot tell that from a slow
    model, so nothing of it is decided otherwise than it will be when the run goes on. A gate behind which no
    replica is left closes by itself.
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
        """Problems that were begun and have not ended."""
        return len(self._open)

    def close(self) -> None:
        self.closed = True

    def break_off(self, reason: str) -> None:
        """Closes it as there is nothing behind it any more: ``broken`` says why."""
        self.closed, self.broken = True, self.broken or reason
        self._broke.set()

    async def breaks(self) -> None:
        """Returns once it is broken."""
        await self._broke.wait()

    @contextmanager
    def problem(self, problem_id: str) -> Iterator[None]:
        """Counts a problem as begun, until it has ended."""
        self._open.add(problem_id)
        try:
            yield
        finally:
            self._open.discard(problem_id)
            self._changed.set()

    async def begin(self) -> None:
        """Passes at once, or once the gate is closed never: before a problem is begun."""
        if self.closed:
            await asyncio.get_running_loop().create_future()

    async def ask(
        self, method: Callable[[Sequence[Request]], Awaitable[list[Reply]]], requests: Sequence[Request]
    ) -> list[Reply]:
        """``method(requests)``, where the gate is open when it is asked, and somebody is there to answer."""
        if not self.closed:
            replies = await self._counted(method, requests)
            lost = next((r for r in replies if isinstance(r, Failure) and r.type == NO_REPLICA), None)
            if lost is None:
                return replies
            self.break_off(lost.message)
        self._waiting.update(r.home for r in requests)
        self._changed.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nobody ends that wait but by cancelling it")

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
        """Returns when no reply is expected any more, and every problem that has not ended waits here."""
        while self._num_in_flight or not self._open <= self._waiting:
            self._changed.clear()
            await self._changed.wait()
