"""The replicas of one kind behind one ``ask``: admission, routing and retries."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from actors.pool.counting import num_tokens
from actors.pool.jobs import Died, End, Job, Life
from actors.pool.member import Member
from actors.pool.placement import ClusterConfig, ReplicaSpec
from actors.pool.replica import Raised, ReplicaInfo
from actors.pool.routing import ranking, route
from actors.pool.scaling import Scaler
from orchestrator.backend import Routing
from orchestrator.emit import emit
from orchestrator.errors import ConfigError
from orchestrator.protocols import NO_REPLICA, Failure, Method, ModelInfo
from orchestrator.spans import span
from orchestrator.types import Overhead

log = logging.getLogger(__name__)

Ticket = tuple[Member, Life]
"""A place on a replica, taken for as many rows as a job has."""


async def together(*work: Coroutine[Any, Any, None]) -> None:
    """Run all of it at once; the first error cancels the rest and is raised alone."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


class Fleet:
    """``num_replicas`` replicas of one spec behind one ``ask``. All of it runs on one event loop.

    A call that raises, or whose replica dies, is retried with the same seeds, one request a call. A
    death counts against a request only if it alone was in flight on the replica, and not if the node was
    lost; an exception counts if the request alone was in the call. After ``max_attempts`` that count, the
    request becomes a Failure and no other does. A Failure that the engine returns is final.
    """

    def __init__(self, spec: ReplicaSpec, config: ClusterConfig, make_member: Callable[..., Member]) -> None:
        self.spec = spec
        self._config = config
        self._members = {name: make_member(name, spec, config, self._wake) for name in spec.names}
        self._turnstile = asyncio.Lock()  # calls are admitted in their order: a large one is not starved
        self._quarantine = asyncio.Lock()  # one replica at a time is closed to others
        self._waiting: dict[asyncio.Event, None] = {}  # in their order: a set has that of addresses
        self._counts: Counter[str] = Counter()
        self.overhead = Overhead()  # of all problems since the start
        self._overheads: dict[str, Overhead] = {}  # of those that are not released
        self._served: defaultdict[str, set[str]] = defaultdict(set)  # who may run ahead for it
        self.num_queued = 0  # rows that wait for a place on a replica
        self._infos: list[ReplicaInfo] = []
        self._scaling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make every engine that was requested. Raises ConfigError or EngineError with what went wrong."""
        members = list(self._members.values())[: self.spec.num_replicas]
        try:
            await together(*(member.start() for member in members))
        except ConfigError as error:
            raise self.spec.placed(error) from error
        self._infos = [m.life.info for m in members if m.life is not None]
        if self.template_notes:
            notes = "; ".join(f"{what} {done}" for what, done in self.template_notes.items())
            text, fields = f"the {self.spec.kind}'s prompts: {notes}", self.template_notes
            emit("template_adapted", "%s", text, level=logging.WARNING, kind=self.spec.kind, **fields)

    def grow(self) -> None:
        """Request the extra replicas without waiting for them: Ray places them when there is room.

        Called when all that the run needs has its place: Ray may serve the last request first.
        """
        if not self.spec.num_extra:
            return
        for extra in list(self._members.values())[self.spec.num_replicas :]:
            extra.join_later()
        scaler = Scaler(self._members, self.spec.num_replicas, self._config, lambda: self.num_queued)
        self._scaling = asyncio.create_task(scaler.run())
        self._scaling.add_done_callback(_log_bug)

    def give_up(self, reason: str) -> None:
        """Give all replicas up, alive or not."""
        for member in self._members.values():
            member.give_up(f"{member.name}: {reason}")

    async def close(self) -> None:
        if self._scaling is not None:
            self._scaling.cancel()
            await asyncio.wait([self._scaling])  # it may be closing a replica
        await asyncio.gather(*(member.close() for member in self._members.values()))

    def drop(self) -> None:
        """End every replica at once, also one that is loading: its engine is not closed first."""
        for member in self._members.values():
            member.drop("is closed")

    @property
    def info(self) -> ModelInfo:
        """What the model of the replicas is; batch-invariant, or with honoured seeds, where all are."""
        models = [info.model for info in self._infos]
        honoured = {model.seeds_honoured for model in models}
        return replace(
            models[0],
            batch_invariant=all(model.batch_invariant for model in models),
            seeds_honoured=False if False in honoured else None if None in honoured else True,
        )

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where the replicas deviate from their tokenizer and its chat template."""
        return self._infos[0].template_notes if self._infos else {}

    @property
    def members(self) -> Mapping[str, Member]:
        """The replicas by name, alive or not; read-only."""
        return self._members

    @property
    def num_rows(self) -> int:
        """Rows in flight on replicas that are alive."""
        return sum(m.life.num_rows for m in self._members.values() if m.life is not None)

    def pids(self) -> dict[str, int]:
        """Return the process of each living replica."""
        return {name: m.life.info.pid for name, m in self._members.items() if m.life is not None}

    def node_ids(self) -> dict[str, str]:
        """Return the node of each living replica."""
        return {name: m.life.info.node_id for name, m in self._members.items() if m.life is not None}

    def stats(self) -> Routing:
        deaths = sum(m.num_deaths for m in self._members.values())
        replicas = sum(m.life is not None for m in self._members.values())
        return Routing(replicas=replicas, deaths=deaths, **self._counts)

    async def ask(self, method: Method, home: str, requests: Sequence[Any]) -> list[Any]:
        """Return one reply a request, in order. All are of the problem ``home`` and are sent together."""
        return await self._serve(Job(method, home, tuple(requests)))

    async def release(self, home: str) -> Overhead:
        """Forget a problem that has ended, with no call in flight; return the tokens that were discarded.

        Each token is returned once: a later problem of the same id begins at 0.
        """
        asked = [self._members[name].release(home) for name in self._served.pop(home, ())]
        try:
            for wasted in await asyncio.gather(*asked):
                self._waste(home, wasted)
        finally:  # cancelled or not: a later run may have a problem of this id
            overhead = self._overheads.pop(home, Overhead())
        return overhead

    def _waste(self, home: str, wasted: Overhead) -> None:
        self.overhead += wasted
        self._overheads[home] = self._overheads.get(home, Overhead()) + wasted

    async def _serve(self, job: Job) -> list[Any]:
        """Retry until there is a reply or a Failure for every request."""
        while True:
            outcome = await self._attempt(job)
            if isinstance(outcome, list):
                return outcome
            if isinstance(outcome, Failure):
                return self._fail(replace(job, failure=outcome))
            self._account(job, outcome)
            job = job.after(outcome)
            if job.num_failures >= self._config.max_attempts:
                job = await self._pardon(job)
                if job.num_failures >= self._config.max_attempts:
                    return self._fail(job)
            _log_retry(job, outcome)
            self._counts["retried_rows"] += len(job.requests)
            if len(job.requests) > 1:
                return await self._serve_each(job)

    async def _serve_each(self, job: Job) -> list[Any]:
        """Serve every row by itself; a cancellation discards, and counts, the replies that are there."""
        rows = [asyncio.ensure_future(self._serve(row)) for row in job.split()]
        try:
            return [reply for replies in await asyncio.gather(*rows) for reply in replies]
        except asyncio.CancelledError:
            if job.method == "generate":
                there = [row for row in rows if row.done() and not row.cancelled() and not row.exception()]
                spent = sum(num_tokens(reply) for row in there for reply in row.result())
                self._waste(job.home, Overhead(speculated_tokens=spent))
            raise

    def _fail(self, job: Job) -> list[Any]:
        if job.failure is None or job.failure.type != NO_REPLICA:  # not a failure of the request
            _log_failure(job)
            self._counts["failed_rows"] += len(job.requests)
        return [job.failure] * len(job.requests)

    async def _attempt(self, job: Job) -> list[Any] | Raised | Died | Failure:
        if job.needs_quarantine(self._config.max_attempts):
            return await self._attempt_alone(job)
        with self._queued(job):
            async with self._turnstile:
                ticket = await self._until(partial(self._choose, job))
        return await self._use(ticket, job)

    @contextmanager
    def _queued(self, job: Job) -> Iterator[None]:
        """Count the rows of a job as waiting."""
        self.num_queued += len(job.requests)
        try:
            yield
        finally:
            self.num_queued -= len(job.requests)

    async def _attempt_alone(self, job: Job) -> list[Any] | Raised | Died | Failure:
        """Close one replica to other calls, wait until it has drained, and call it."""
        self._counts["quarantined_rows"] += 1
        async with self._quarantine:
            try:
                with self._queued(job):
                    ticket = await self._until(partial(self._isolate, job))
                return await self._use(ticket, job)
            finally:
                for member in self._members.values():
                    member.closed = False
                self._wake()

    async def _use(self, ticket: Ticket | None, job: Job) -> list[Any] | Raised | Died | Failure:
        if ticket is None:
            return self._absence()
        member, life = ticket
        begun = time.monotonic()
        try:
            with span("replica", replica=member.name, method=job.method, rows=len(job.requests)) as own:
                outcome = await member.call(life, job.method, job.requests)
                if isinstance(outcome, Raised | Died):
                    own.fail(outcome.message)
                return outcome
        except asyncio.CancelledError:
            if job.method == "generate" and member.life is life:
                spent = await member.spent_on(life, job.requests)
                self._waste(job.home, Overhead(speculated_tokens=spent))
            raise
        finally:
            life.num_rows -= len(job.requests)
            self._wake()
            if log.isEnabledFor(logging.DEBUG):
                _log_call(job, member.name, time.monotonic() - begun)

    def _absence(self) -> Failure:
        """Say why no replica takes a call; replicas that were closed are not lost."""
        is_closed = all(m.is_out for m in self._members.values())
        reason = "; ".join(m.lost or "" for m in self._members.values())
        return Failure("ReplicaDeath" if is_closed else NO_REPLICA, reason)

    async def _until(self, find: Callable[[], Ticket | None]) -> Ticket | None:
        """Return what ``find`` finds, as soon as it does; None when no replica is expected any more."""
        event = asyncio.Event()
        self._waiting[event] = None
        try:
            while (ticket := find()) is None:
                if all(m.life is None and m.lost for m in self._members.values()):
                    return None
                event.clear()
                await event.wait()
            return ticket
        finally:
            del self._waiting[event]

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    def _choose(self, job: Job) -> Ticket | None:
        """Take room for the job on a replica: its home, or the one to which siblings spill."""
        loads = self._loads(job.avoid)
        name = self._route(job, loads)
        if name is None and job.avoid is not None:  # rather than wait and block all others
            loads = self._loads()
            name = self._route(job, loads)
        if name is None:
            return None
        self._counts["calls"] += 1
        self._counts["rows"] += len(job.requests)
        self._counts["home_hits" if name == ranking(job.home, tuple(loads))[0] else "spills"] += 1
        return self._take(name, job)

    def _route(self, job: Job, loads: Mapping[str, int]) -> str | None:
        margin, most = self._config.spill_margin, self._config.max_in_flight
        return route(job.home, loads, len(job.requests), spill_margin=margin, max_in_flight=most)

    def _isolate(self, job: Job) -> Ticket | None:
        """Take the closed replica once it has drained; close one first if none is."""
        closed = next((n for n, m in self._members.items() if m.closed), None)
        if closed is not None and self._members[closed].life is None:  # it has died since: take another
            self._members[closed].closed, closed = False, None
        if closed is None:
            loads = self._loads(job.avoid)
            if not loads:
                return None
            closed = min(loads, key=loads.__getitem__)
            self._members[closed].closed = True
        life = self._members[closed].life
        return self._take(closed, job) if life is not None and life.num_rows == 0 else None

    def _loads(self, avoid: str | None = None) -> dict[str, int]:
        """Return the rows in flight of the replicas that take calls; ``avoid`` only if there is no other."""
        loads = {n: m.life.num_rows for n, m in self._members.items() if m.life is not None and not m.closed}
        if avoid in loads and len(loads) > 1:
            del loads[avoid]
        return loads

    def _take(self, name: str, job: Job) -> Ticket | None:
        member = self._members[name]
        if member.life is None:
            return None
        member.life.num_rows += len(job.requests)
        if job.method == "generate" and self._infos[0].model.sampler == "stream":
            self._served[job.home].add(name)
        if member.life.num_rows == len(job.requests):  # it was idle: its silence begins to count now
            member.life.last_progress = time.monotonic()
        return member, member.life

    @staticmethod
    async def _pardon(job: Job) -> Job:
        """Return the job without the deaths that were the loss of a node, which takes a while to find out."""
        guilty = [end for end in job.died_alone if await asyncio.shield(end) is not End.NODE_LOST]
        return replace(job, died_alone=tuple(guilty))

    def _account(self, job: Job, outcome: Raised | Died) -> None:
        """Add this job's share of the tokens that a dead replica had generated and not delivered."""
        if isinstance(outcome, Raised) or outcome.before or job.method != "generate":
            return
        bound = sum(request.params.max_tokens for request in job.requests)
        share = outcome.life.lost_tokens * len(job.requests) // max(1, outcome.life.rows_at_death)
        self._waste(job.home, Overhead(retried_tokens=min(share, bound)))


def _log_call(job: Job, replica: str, seconds: float) -> None:
    """Log a call that has ended, with a reply or without."""
    fields = {"problem": job.home, "replica": replica, "method": job.method, "rows": len(job.requests)}
    text = "a %s call of problem %s with %d rows took %.3f s on %s"
    values = (job.method, job.home, len(job.requests), seconds, replica)
    emit("call_ended", text, *values, level=logging.DEBUG, seconds=round(seconds, 6), **fields)


def _log_retry(job: Job, outcome: Raised | Died) -> None:
    """Log a call that is retried: one line, however many rows it has."""
    reason = f"{outcome.type}: {outcome.message}" if isinstance(outcome, Raised) else outcome.message
    text = "a %s call of problem %s with %d rows is retried: %s"
    fields = {"replica": outcome.member, "rows": len(job.requests), "method": job.method, "reason": reason}
    values = (job.method, job.home, len(job.requests), reason)
    emit("request_retried", text, *values, level=logging.INFO, problem=job.home, **fields)


def _log_failure(job: Job) -> None:
    """Log a request that is given up: one that kills its replicas, or one that cannot be answered."""
    assert job.failure is not None
    event = "request_poisoned" if job.failure.type == "ReplicaDeath" else "request_failed"
    reason = f"{job.failure.type}: {job.failure.message}"
    fields = {"reason": reason, "problem": job.home, "rows": len(job.requests), "method": job.method}
    text = "a %s request of problem %s is given up: %s"
    emit(event, text, job.method, job.home, reason, level=logging.WARNING, **fields)


def _log_bug(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("unexpected exception: replicas are no longer added or removed", exc_info=error)
