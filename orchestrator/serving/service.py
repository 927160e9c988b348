"""The searches of a server: each is one controller's, with hard limits, and ends when its request does."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from orchestrator.backend import Backend
from orchestrator.config.build import Range
from orchestrator.config.policies import NO_POLICIES, Policies
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Engine, Task, Verifier
from orchestrator.search.account import Limits
from orchestrator.search.controller import Controller
from orchestrator.search.gate import Gate
from orchestrator.serving.admission import Allowances, Queue
from orchestrator.serving.errors import ApiError
from orchestrator.serving.metrics import Metrics
from orchestrator.serving.offers import Offers
from orchestrator.serving.progress import Progress
from orchestrator.serving.query import Caps, Query
from orchestrator.serving.settings import ServeSettings
from orchestrator.serving.tenancy import Generated, RequestEngine, RequestVerifier, Rows, Ungraded
from orchestrator.types import ENGINE

T = TypeVar("T")
EVERY_PROBLEM = Range(0, None)


@dataclass(frozen=True)
class Served:
    """What a server serves, from its configuration: everything but the models."""

    settings: ServeSettings
    offers: Offers
    task: Task
    budget: int
    seed: int
    limits: Limits
    concurrency: int
    range: Range = EVERY_PROBLEM
    policies: Policies = NO_POLICIES


@dataclass(frozen=True)
class Loaded:
    """The models of a server, ready."""

    backend: Backend
    verifier: Verifier | None

    @property
    def engine(self) -> Engine:
        return self.backend.engine


class Service:
    """Solves queries. Without models, and once it is closing, every query is refused."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.metrics = Metrics()
        self.rows = Rows()
        self.queue = Queue(served.concurrency, served.settings.max_queue)
        self.allowances = Allowances(served.settings)
        self.gate = Gate()
        self.is_closing = False
        self._loaded: Loaded | None = None
        self._numbers = itertools.count(1)

    def has(self, loaded: Loaded) -> None:
        """Take requests from now on, on these models."""
        self._loaded = loaded

    def close(self) -> None:
        """Refuse new requests from now on; those in flight go to their end."""
        self.is_closing = True

    def cut(self) -> None:
        """End the requests in flight, and those that wait, with an error."""
        self.close()
        self.gate.break_off("the server is shutting down")

    @property
    def loaded(self) -> Loaded:
        """The models. Raises ApiError while there are none."""
        if self.is_closing or self.gate.broken is not None:
            raise self._ended()
        if self._loaded is None:
            raise ApiError(503, "the models are loading", code="loading", retry_after=5)
        return self._loaded

    @property
    def caps(self) -> Caps:
        """What the server adds to a request. Raises ApiError while there are no models."""
        served, loaded = self.served, self.loaded
        policies = {**loaded.backend.policies, **served.policies.engines(loaded.backend.policies)}
        return Caps(
            budget=served.budget,
            seed=served.seed,
            limits=served.limits,
            max_budget=served.settings.max_budget,
            most=served.settings.limits,
            without_history=frozenset(n for n, each in policies.items() if not each.info.takes_history),
            reads=None if loaded.verifier is None else loaded.verifier.info.reads,
            has_prices=bool(served.policies.prices),
        )

    def gauges(self) -> dict[str, float]:
        """Return the figures of this moment."""
        alive = 0 if self._loaded is None else self._loaded.backend.num_alive()
        return {
            "searches_running": self.queue.num_running,
            "searches_waiting": self.queue.num_waiting,
            "rows_in_flight": self.rows.num,
            "replicas_alive": alive,
        }

    async def solve(self, query: Query, holder: int, progress: Progress) -> ProblemResult:
        """Return the result of a query. Cancelling this cancels its search, and frees the engine's rows.

        Raises ApiError where the query is refused, or no replica is left.
        """
        begun, outcome, generated = time.monotonic(), "cancelled", Generated()
        try:
            # At once, before anything waits: a stream that is refused has not begun.
            with self._admitted(query, holder, generated) as limits, self.queue.joined():
                result = await self._unless_broken(self._placed(query, limits, progress, generated))
            outcome = "ok" if result.error is None else "error"
            return result
        except ApiError as refusal:
            outcome = str(refusal.status)
            raise
        finally:
            seconds, usage = time.monotonic() - begun, progress.usage
            discarded = generated.counted - usage.generated_tokens
            self.metrics.ended(query.strategy_name, outcome, seconds, usage, discarded)

    @contextmanager
    def _admitted(self, query: Query, holder: int, generated: Generated) -> Iterator[Limits]:
        """Count a request and its tokens as its key's inside the block; yield its limits. Raises ApiError."""
        reserved = self.allowances.tokens(holder, query.limits, stated=query.states_tokens)
        with self.allowances.request(holder), reserved as (limits, took):
            try:
                yield limits
            finally:
                took(generated.charged)

    async def _placed(
        self, query: Query, limits: Limits, progress: Progress, generated: Generated
    ) -> ProblemResult:
        async with self.queue.place():
            return await self._controller(query, limits, progress, generated).solve(query.problem)

    def _controller(
        self, query: Query, limits: Limits, progress: Progress, generated: Generated
    ) -> Controller:
        loaded, home = self.loaded, f"{query.problem.id}#{next(self._numbers)}"
        verifier, declared = loaded.verifier, self.served.policies
        on_reply = progress.replied if query.shows_progress else None
        started: dict[str, Engine] = {
            name: RequestEngine(
                engine,
                home,
                self.rows,
                generated,
                self.served.task.answer_marker,
                query.max_tokens,
                query.stops,
                on_reply if name == ENGINE else None,
            )
            for name, engine in loaded.backend.policies.items()
        }
        return Controller(
            strategy=query.strategy,
            engine=started[ENGINE],
            policies=declared.engines(started),
            prices=declared.prices,
            verifier=None if verifier is None else RequestVerifier(verifier, home, self.rows),
            task=Ungraded(self.served.task),
            seed=query.seed,
            limits=limits,
            gate=self.gate,
            watch=progress,
        )

    async def _unless_broken(self, work: Awaitable[T]) -> T:
        """Return what ``work`` returns. Raises ApiError once the gate is broken: the search would wait."""
        search, broken = asyncio.ensure_future(work), asyncio.ensure_future(self.gate.breaks())
        try:
            await asyncio.wait({search, broken}, return_when=asyncio.FIRST_COMPLETED)
            if search.done():
                return search.result()
            raise self._ended()
        finally:
            await ended(search, broken)

    def _ended(self) -> ApiError:
        """Return why no request is served any more."""
        if self.is_closing:
            return ApiError(503, "the server is shutting down", code="shutting_down", retry_after=5)
        return ApiError(503, "no replica is left", code="no_replica", retry_after=30)


async def ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what has not ended, and wait until it has."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
