"""The lives of one replica: it is started, restarted when it dies, given up, and ended."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actors.pool.handles import Handle, Host, ReplicaDied, ReplicaError
from actors.pool.jobs import End, Life
from actors.pool.placement import ClusterConfig, ReplicaSpec
from actors.pool.replica import ReplicaInfo, Restarted
from orchestrator.emit import emit
from orchestrator.errors import EngineError

log = logging.getLogger(__name__)
T = TypeVar("T")

_PATIENCE_S = 30.0
_GLANCE_S = 2.0
_LONGEST_PAUSE_S = 2.0
_CLOSE_TIMEOUT_S = 5.0


@dataclass(eq=False)
class Keeper(ABC):
    """Keeps one replica alive under its name. ``life`` is None while it has none.

    ``on_change`` is called whenever the replica becomes able, or permanently unable, to take calls. ``lost``
    says why it is not expected back; it may come back all the same. A subclass says in ``_watch`` how a life
    is watched.
    """

    name: str
    spec: ReplicaSpec
    config: ClusterConfig
    on_change: Callable[[], None]
    host: Host
    life: Life | None = None
    lost: str | None = None
    num_deaths: int = 0
    _latest: Life | None = None
    _actor: Handle = field(init=False)
    _has_place: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @abstractmethod
    async def _watch(self) -> None:
        """Watch every life from now on, until it is cancelled."""

    @property
    def is_out(self) -> bool:
        """Whether it has left and was not requested again since."""
        return not self._has_place

    async def start(self) -> None:
        """Start the replica and wait until its engine is made.

        Raises the error of making it, or EngineError with what prevents it.
        """
        self._actor = self._place()
        num_deaths, deadline = 0, time.monotonic() + self.config.start_timeout_s
        while self.life is None:
            answer = await self._probe(min(_PATIENCE_S, max(0.05, deadline - time.monotonic())))
            if isinstance(answer, ReplicaInfo):
                if answer.error is not None:
                    self._note(answer)
                    raise answer.error
                self._begin(answer)
            elif isinstance(answer, str):
                num_deaths += 1
                if num_deaths >= self.config.max_attempts:
                    raise EngineError(f"{self.name} died {num_deaths} times before it was ready: {answer}")
            elif time.monotonic() >= deadline:
                raise EngineError(await self._absence())
            else:
                self._emit(logging.WARNING, "replica_awaited", await self._absence())
        self._spawn(self._watch())

    def join_later(self) -> None:
        """Request the replica; it joins when Ray has found room for it, and nothing waits for that."""
        if not self._has_place:
            self._actor = self._place()
        self.lost = f"{self.name} has not joined"
        self._spawn(self._join())

    async def _join(self) -> None:
        while self.life is None:
            answer = await self._probe(_PATIENCE_S)
            if isinstance(answer, ReplicaInfo):
                if answer.error is not None:
                    self._note(answer)
                    self._emit(logging.ERROR, "replica_lost", f"{self.name} cannot join: {answer.error}")
                    self._actor.kill(restart=False)  # others may use its place; it would fail there again
                    return
                self._begin(answer)
            elif answer is not None:
                await asyncio.sleep(_LONGEST_PAUSE_S)
        await self._watch()

    def _place(self) -> Handle:
        actor = self.host.place(self.spec, self.name, self.config)
        self._has_place = True
        self._emit(logging.INFO, "replica_started", f"{self.name} is requested")
        return actor

    async def _probe(self, timeout_s: float) -> ReplicaInfo | str | None:
        """Return what the replica reports, the message of its death, or None when neither came in time."""
        try:
            return await within(timeout_s, self._actor.ready())
        except TimeoutError:
            return None
        except ReplicaError as error:
            if isinstance(error, ReplicaDied) and error.is_final:
                self._actor.kill(restart=False)
                self._actor = self._place()
            return error.message

    def _note(self, info: ReplicaInfo) -> None:
        """Log all that is known of a failed start; the error itself is reported by the caller."""
        if info.trace:
            where = {"pid": info.pid, "node": info.node_id, "trace": info.trace}
            self._emit(logging.INFO, "replica_failed", f"{self.name} did not start: {info.error}", **where)

    async def _absence(self) -> str:
        """Say what a person needs to know about a replica that is not ready."""
        limit = f"cluster.start_timeout_s={self.config.start_timeout_s:g}"
        return f"{self.name} is not ready ({limit}); {await self._doing()}"

    async def _doing(self) -> str:
        """Say what the replica is doing, or what it waits for."""
        try:
            pulse = await within(_GLANCE_S, self._actor.pulse())
        except (TimeoutError, ReplicaError):
            pulse = None
        if isinstance(pulse, Restarted) and pulse.doing:
            return pulse.doing
        if await asyncio.to_thread(self._actor.is_placed):
            return "its process is starting"
        free = await asyncio.to_thread(self.host.free)
        return f"it is waiting for resources: requested are {self.spec}, free are {free}"

    def _begin(self, info: ReplicaInfo) -> None:
        event = "replica_ready" if self._latest is None else "replica_replaced"
        where = {"pid": info.pid, "node": info.node_id}
        self._emit(logging.INFO, event, f"{self.name} is ready (pid {info.pid})", **where)
        end = asyncio.get_running_loop().create_future()
        if self._latest is not None and self._latest.info.incarnation == info.incarnation:
            self._latest.resume(end, time.monotonic())  # the process that was thought dead
        else:
            self._latest = Life(info, end, last_progress=time.monotonic())
        self.life, self.lost = self._latest, None
        self.on_change()

    def _bury(self, life: Life, message: str) -> None:
        """End a life, once: nothing is sent to the replica until it is back."""
        if self.life is not life:
            return
        self.life = None
        life.rows_at_death = life.num_rows
        self.num_deaths += 1
        text = f"{self.name} died under {life.num_rows} rows (pid {life.info.pid}): {message}"
        fields = {"rows": life.num_rows, "pid": life.info.pid, "node": life.info.node_id, "reason": message}
        self._emit(logging.WARNING, "replica_died", text, **fields)
        self._spawn(self._revive(life))

    async def _revive(self, dead: Life) -> None:
        """Wait for the replica to come back, however long that takes, and report when it takes too long."""
        # A process that was killed may still answer.
        broken, doomed = set[str](), {dead.info.incarnation} if dead.killed else set[str]()
        pause, deadline = 0.05, time.monotonic() + self.config.start_timeout_s
        while True:
            answer = await self._probe(_LONGEST_PAUSE_S)
            if isinstance(answer, ReplicaInfo) and answer.incarnation not in doomed | broken:
                await self._conclude(dead, answer)
                if answer.error is None:
                    self._begin(answer)
                    return await self._cut_off(dead)
                broken.add(answer.incarnation)
                self._note(answer)
                if len(broken) >= self.config.max_attempts:
                    return self.give_up(f"{self.name} came back without an engine: {answer.error}")
                self._actor.kill(restart=True)  # the dead may still hold a card's memory: once more
            else:
                await self._conclude(dead, None)
            if time.monotonic() >= deadline and self.lost is None:
                self.give_up(await self._absence())
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _conclude(self, dead: Life, info: ReplicaInfo | None) -> None:
        """Record how a life ended, as soon as that is known: at the latest when the replica is back."""
        if dead.end.done():
            return
        if info is not None and info.incarnation == dead.info.incarnation:
            dead.conclude(End.LINK_LOST)
        elif dead.info.node_id not in await asyncio.to_thread(self.host.living_nodes):
            dead.conclude(End.NODE_LOST)
        elif info is not None:
            dead.conclude(End.DIED)

    async def _cut_off(self, dead: Life) -> None:
        """Cancel the calls of a life that has ended where the process after it took them and does not reply.

        Such a process replies at once that it was restarted, unless the call is stuck on the way.
        """
        await asyncio.sleep(self.config.request_timeout_s)
        for flight in list(dead.flights):
            flight.hung = True
            flight.task.cancel()

    def give_up(self, reason: str) -> None:
        """Stop waiting for this replica, and report that."""
        self._emit(logging.ERROR, "replica_lost", reason)
        self._retire(reason)

    def _retire(self, reason: str) -> None:
        """Stop waiting for this replica; should it come back, it is used again."""
        self.life, self.lost = None, reason
        if self._latest is not None:
            self._latest.conclude(End.SILENT)
        self.on_change()

    async def leave(self, reason: str) -> None:
        """Release its place in the cluster: no call comes here until ``join_later`` has found another."""
        if not self._has_place:
            return
        is_alive = self.life is not None
        self._forget(reason)
        try:
            if is_alive:
                await self._close_engine()
        finally:  # cancelled or not: its cards are needed elsewhere
            self._actor.kill(restart=False)

    def drop(self, reason: str) -> None:
        """Release its place at once, whatever it is doing: its engine is not closed, but ends with it."""
        if self._has_place:
            self._forget(reason)
            self._actor.kill(restart=False)

    def _forget(self, reason: str) -> None:
        self._has_place = False
        self._retire(f"{self.name} {reason}")
        self._latest = None
        self._emit(logging.INFO, "replica_removed", f"{self.name} {reason}", reason=reason)
        for task in self._tasks:
            task.cancel()

    async def _close_engine(self) -> None:
        try:
            await within(_CLOSE_TIMEOUT_S, self._actor.close())
        except (TimeoutError, ReplicaError):
            log.warning("%s did not close by itself", self.name)

    async def close(self) -> None:
        """End the replica for good."""
        await self.leave("is closed")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        """An unexpected exception in a background task must not leave callers waiting forever."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("unexpected exception while watching %s", self.name, exc_info=error)
            self.give_up(f"{self.name} is no longer watched: {error!r}")

    def _emit(self, level: int, event: str, text: str, **fields: object) -> None:
        """Log one line about this replica (docs/observability.md lists the events).

        Runs of one process may share it: whichever call has found its state out, the line is for all of them.
        """
        Context().run(emit, event, "%s", text, level=level, replica=self.name, **fields)


async def within(seconds: float, reply: Awaitable[T]) -> T:
    """Return the reply or raise TimeoutError; ``asyncio.wait_for`` of Python 3.11 can lose a cancel."""
    async with asyncio.timeout(seconds):
        return await reply
