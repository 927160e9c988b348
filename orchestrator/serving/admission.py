"""Who may search now: places in flight, a bounded queue, and what each key may take."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace

from orchestrator.search.account import Limits
from orchestrator.serving.errors import ApiError
from orchestrator.serving.settings import ServeSettings

_MAX_WAIT_S = 60


class Queue:
    """``num_places`` searches at once, and at most ``max_queue`` more that wait for one."""

    def __init__(self, num_places: int, max_queue: int) -> None:
        self._places = asyncio.Semaphore(num_places)
        self._num_places, self._max_queue = num_places, max_queue
        self._seconds = 1.0
        self._num_joined = self.num_running = 0

    @property
    def num_waiting(self) -> int:
        """How many have joined and have no place yet."""
        return self._num_joined - self.num_running

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Count one more at once, until the block ends: ``place`` is for what has joined. Raises ApiError."""
        if self._num_joined >= self._num_places + self._max_queue:
            allowed = f"{self._num_places} searches run and {self._max_queue} wait (serve.max_queue)"
            raise ApiError(429, f"the server is full: {allowed}", code="queue_full", retry_after=self._wait_s)
        self._num_joined += 1
        try:
            yield
        finally:
            self._num_joined -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it inside the block."""
        await self._places.acquire()
        begun = time.monotonic()
        self.num_running += 1
        try:
            yield
        finally:
            self.num_running -= 1
            self._seconds += 0.1 * (time.monotonic() - begun - self._seconds)
            self._places.release()

    @property
    def _wait_s(self) -> int:
        """Seconds until a place is likely to be free for another request."""
        ahead = 1 + self.num_waiting
        return min(_MAX_WAIT_S, max(1, math.ceil(self._seconds * ahead / self._num_places)))


@dataclass
class _Spent:
    since: float
    tokens: int = 0
    reserved: int = 0


@dataclass
class Allowances:
    """What each key has in flight, and what it has generated in this window of time.

    A request reserves its whole limit of tokens, and releases what was not generated for it: what searches
    request never exceeds the allowance. What engines generate beside it (``Overhead``) is charged at the end.
    """

    settings: ServeSettings
    clock: Callable[[], float] = time.monotonic
    _num_open: Counter[int] = field(default_factory=Counter)
    _spent: dict[int, _Spent] = field(default_factory=dict)

    @contextmanager
    def request(self, holder: int) -> Iterator[None]:
        """Count a request of a key inside the block. Raises ApiError where it has too many."""
        most = self.settings.key_concurrency
        if most is not None and self._num_open[holder] >= most:
            message = f"this key has {most} requests in flight (serve.key_concurrency)"
            raise ApiError(429, message, code="key_concurrency", retry_after=1)
        self._num_open[holder] += 1
        try:
            yield
        finally:
            self._num_open[holder] -= 1
            if not self._num_open[holder]:
                del self._num_open[holder]

    @contextmanager
    def tokens(
        self, holder: int, limits: Limits, *, stated: bool
    ) -> Iterator[tuple[Limits, Callable[[int], None]]]:
        """Reserve a request's tokens; yield its limits and what takes the number that was generated.

        A limit that the request has not ``stated`` is clipped to what is left. Raises ApiError.
        """
        allowance, requested = self.settings.key_tokens, limits.generated_tokens
        if allowance is None or requested is None:
            yield limits, lambda _: None
            return
        spent = self._window(holder)
        left = allowance - spent.tokens - spent.reserved
        if left <= 0 or (stated and requested > left):
            seconds = max(1, math.ceil(spent.since + self.settings.key_window_s - self.clock()))
            message = f"this key has {max(0, left)} of {allowance} tokens left (serve.key_tokens)"
            raise ApiError(429, message, code="key_tokens", retry_after=seconds)
        reserved = min(requested, left)
        spent.reserved += reserved
        generated = 0

        def took(num_tokens: int) -> None:
            nonlocal generated
            generated = num_tokens

        try:
            yield replace(limits, generated_tokens=reserved), took
        finally:
            spent.reserved -= reserved
            spent.tokens += generated

    def _window(self, holder: int) -> _Spent:
        now = self.clock()
        spent = self._spent.setdefault(holder, _Spent(now))
        if now - spent.since >= self.settings.key_window_s:  # what is in flight stays reserved
            spent.since, spent.tokens = now, 0
        return spent
