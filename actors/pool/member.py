"""One replica as the controller sees it: its calls, its pulse, its deaths and its lives after them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from actors.pool.counting import Tokens, most_work, num_tokens, work_of
from actors.pool.handles import Handle, Host, ReplicaDied, ReplicaError
from actors.pool.jobs import Died, End, Flight, Life
from actors.pool.placement import ClusterConfig, ReplicaSpec
from actors.pool.replica import Raised, ReplicaInfo, Restarted
from orchestrator.emit import emit
from orchestrator.errors import EngineError
from orchestrator.protocols import Method
from orchestrator.types import Overhead

log = logging.getLogger(__name__)
T = TypeVar("T")

_PATIENCE_S = 30.0
_PULSE_S = 5.0
_LONGEST_PAUSE_S = 2.0
_CLOSE_TIMEOUT_S = 5.0
_LAST_PULSE_S = 0.25
_UNSEEN = "it was restarted, and nobody saw it die"


@dataclass(eq=False)
class Member:
    """A replica under its own name, across its lives. ``life`` is None while there is none.

    ``on_change`` is called whenever it becomes able, or unable for good, to take calls. ``lost`` says why
    it cannot be expected back; it may come back all the same.
    """

    name: str
    spec: ReplicaSpec
    config: ClusterConfig
    on_change: Callable[[], None]
    host: Host
    life: Life | None = None
    lost: str | None = None
    closed: bool = False  # to all but a request in quarantine
    num_deaths: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    _latest: Life | None = None
    _actor: Handle = field(init=False)
    _has_place: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def _place(self) -> Handle:
        actor = self.host.place(self.spec, self.name, self.config)
        self._has_place = True
        self._tell(logging.INFO, "replica_started", f"{self.name} is asked for")
        return actor

    def _tell(self, level: int, event: str, text: str, **fields: object) -> None:
        """One line that says what became of this replica (docs/observability.md has them all)."""
        emit(event, "%s", text, level=level, replica=self.name, **fields)

    @property
    def is_out(self) -> bool:
        """It left, and nobody has asked for it since."""
        return not self._has_place

    def idle_s(self, now: float) -> float:
        """Seconds since it last had something to do; 0 while it has, and while it is not alive."""
        return now - self.life.last_progress if self.life is not None and not self.life.num_rows else 0.0

    async def start(self) -> None:
        """Waits until the engine is made. Raises the error of making it, or EngineError: what hinders it."""
        self._actor = self._place()
        num_deaths, deadline = 0, time.monotonic() + self.config.start_timeout_s
        while self.life is None:
            answer = await self._probe(min(_PATIENCE_S, max(0.05, deadline - time.monotonic())))
            if isinstance(answer, ReplicaInfo):
                if answer.error is not None:
                    raise answer.error
                self._begin(answer)
            elif isinstance(answer, str):
                num_deaths += 1
                if num_deaths >= self.config.max_attempts:
                    raise EngineError(f"{self.name} died {num_deaths} times before it was ready: {answer}")
            elif time.monotonic() >= deadline:
                raise EngineError(await self._absence())
            else:
                self._tell(logging.WARNING, "replica_awaited", await self._absence())
        self._spawn(self._watch())

    def join_later(self) -> None:
        """Joins whenever Ray has found room for it; until then nobody waits for it."""
        if not self._has_place:
            self._actor = self._place()
        self.lost = f"{self.name} has not joined"
        self._spawn(self._join())

    async def _join(self) -> None:
        while self.life is None:
            answer = await self._probe(_PATIENCE_S)
            if isinstance(answer, ReplicaInfo):
                if answer.error is not None:
                    self._tell(logging.ERROR, "replica_lost", f"{self.name} cannot join: {answer.error}")
                    self._actor.kill(restart=False)  # others may use its place; it would fail there again
                    return
                self._begin(answer)
            elif answer is not None:
                await asyncio.sleep(_LONGEST_PAUSE_S)
        await self._watch()

    async def _absence(self) -> str:
        """What a person needs to know of a replica that is not ready."""
        free = await asyncio.to_thread(self.host.free)
        limit = f"cluster.start_timeout_s={self.config.start_timeout_s:g}"
        return f"{self.name} is not ready ({limit}); asked are {self.spec}, free are {free}"

    async def _probe(self, timeout_s: float) -> ReplicaInfo | str | None:
        """The replica's own words; the message of its death; or None when it said nothing in time."""
        try:
            return await _within(timeout_s, self._actor.ready())
        except TimeoutError:
            return None
        except ReplicaError as error:
            if isinstance(error, ReplicaDied) and error.is_final:
                self._actor.kill(restart=False)
                self._actor = self._place()
            return error.message

    def _begin(self, info: ReplicaInfo) -> None:
        event = "replica_ready" if self._latest is None else "replica_replaced"
        where = {"pid": info.pid, "node": info.node_id}
        self._tell(logging.INFO, event, f"{self.name} is ready (pid {info.pid})", **where)
        end = asyncio.get_running_loop().create_future()
        if self._latest is not None and self._latest.info.incarnation == info.incarnation:
            self._latest.go_on(end, time.monotonic())  # the process that was thought dead
        else:
            self._latest = Life(info, end, last_progress=time.monotonic())
        self.life, self.lost = self._latest, None
        self.on_change()

    async def call(self, life: Life, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Died:
        """The replies, or what happened instead. Cancelling it cancels the call inside the replica."""
        flight = self._take_off(life, requests)
        try:
            answer = await self._actor.ask(method, requests)
        except asyncio.CancelledError:
            if flight.hung and flight.task.uncancel() == 0:
                return Raised("TimeoutError", f"no reply from {self.name}, which finished others", self.name)
            raise
        except ReplicaDied as death:
            self._bury(life, death.message)
            alone = len(requests) == 1 and life.rows_at_death == 1 and not death.before
            return Died(self.name, life, alone, death.message, death.before)
        except ReplicaError as error:
            return Raised(error.type, error.message, self.name)
        finally:
            life.flights.discard(flight)
        if isinstance(answer, Restarted):  # it died while it was idle: of no request
            self._bury(life, _UNSEEN)
            return Died(self.name, life, False, _UNSEEN, before=True)
        life.last_progress = time.monotonic()
        if isinstance(answer, Raised):
            return replace(answer, member=self.name)
        life.tokens_delivered += sum(map(num_tokens, answer))
        life.work_done += sum(map(work_of, answer))
        self.tokens.add(answer)
        return answer

    @staticmethod
    def _take_off(life: Life, requests: Sequence[Any]) -> Flight:
        """Notes a call that is about to be waited for."""
        task = asyncio.current_task()
        assert task is not None
        life.most_work = max(life.most_work, *(most_work(r) for r in requests))
        rows = max(life.num_rows, len(requests))
        flight = Flight(task, time.monotonic(), life.work_done, rows, home=requests[0].home)
        life.flights.add(flight)
        return flight

    async def release(self, home: str) -> Overhead:
        """Lets the replica forget a problem that is over; what that cost in vain, as far as it is known."""
        life = self.life
        if life is None:
            return Overhead()
        try:
            wasted = await _within(_PULSE_S, self._actor.release(home))
        except (TimeoutError, ReplicaError):
            return Overhead()
        life.tokens_delivered += wasted.speculated_tokens  # they are accounted for
        return wasted

    async def spent_on(self, life: Life, requests: Sequence[Any]) -> int:
        """Tokens made for a call that was cancelled: its share of what is made and not delivered.

        An estimate: the replica counts its tokens, and not whose they are.
        """
        await self._take_pulse(life, _LAST_PULSE_S)
        share = life.lost_tokens * len(requests) // max(1, life.num_rows)
        spent = min(share, sum(most_work(r) for r in requests))
        life.tokens_delivered += spent  # they are accounted for
        return spent

    def _bury(self, life: Life, message: str) -> None:
        """Ends a life, once: nothing is sent to the replica until it is back."""
        if self.life is not life:
            return
        self.life = None
        life.rows_at_death = life.num_rows
        self.num_deaths += 1
        text = f"{self.name} died under {life.num_rows} rows (pid {life.info.pid}): {message}"
        told = {"rows": life.num_rows, "pid": life.info.pid, "node": life.info.node_id, "reason": message}
        self._tell(logging.WARNING, "replica_died", text, **told)
        self._spawn(self._revive(life))

    async def _revive(self, dead: Life) -> None:
        """Waits for the replica to come back, however long that takes, and tells when it takes too long."""
        # A process that was told to die may still answer.
        broken, doomed = set[str](), {dead.info.incarnation} if dead.killed else set[str]()
        pause, deadline = 0.05, time.monotonic() + self.config.start_timeout_s
        while True:
            answer = await self._probe(_LONGEST_PAUSE_S)
            if isinstance(answer, ReplicaInfo) and answer.incarnation not in doomed | broken:
                await self._conclude(dead, answer)
                if answer.error is None:
                    return self._begin(answer)
                broken.add(answer.incarnation)
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
        """Settles how a life ended, as soon as that is known: at the latest when the replica is back."""
        if dead.end.done():
            return
        if info is not None and info.incarnation == dead.info.incarnation:
            dead.conclude(End.LINK_LOST)
        elif dead.info.node_id not in await asyncio.to_thread(self.host.living_nodes):
            dead.conclude(End.NODE_LOST)
        elif info is not None:
            dead.conclude(End.DIED)

    def give_up(self, reason: str) -> None:
        """Nobody waits for this replica any more, which is told."""
        self._tell(logging.ERROR, "replica_lost", reason)
        self._retire(reason)

    def _retire(self, reason: str) -> None:
        """Nobody waits for this replica any more; should it come back, it is welcome."""
        self.life, self.lost = None, reason
        if self._latest is not None:
            self._latest.conclude(End.SILENT)
        self.on_change()

    async def _watch(self) -> None:
        """Kills the process when no token is made for ``request_timeout_s`` while rows are in flight.

        An idle replica is asked too: its death is noticed before a request meets it.
        """
        period = min(_PULSE_S, self.config.request_timeout_s / 4)
        while True:
            await asyncio.sleep(period)
            life = self.life
            if life is None:
                continue
            await self._take_pulse(life, period)
            self._cut_hung_calls(life)
            quiet_s = time.monotonic() - life.last_progress
            if self.life is life and life.num_rows and quiet_s > self.config.request_timeout_s:
                life.killed = True
                self._actor.kill(restart=True)
                reason = f"no token for {quiet_s:.1f} s (cluster.request_timeout_s): killed"
                self._tell(logging.WARNING, "replica_hung", f"{self.name}: {reason}", rows=life.num_rows)
                self._bury(life, reason)

    def _cut_hung_calls(self, life: Life) -> None:
        """Ends calls that get nothing while the replica goes on with others: they are tried elsewhere."""
        now = time.monotonic()
        for flight in sorted(life.flights, key=lambda flight: flight.begun):
            flight.most_rows = max(flight.most_rows, life.num_rows)
            if not flight.hung and flight.is_hung(life, now, self.config.request_timeout_s):
                seconds = round(now - flight.begun, 1)
                text = f"{self.name}: a call of problem {flight.home} hangs since {seconds:g} s: cut"
                told = {"problem": flight.home, "seconds": seconds}
                self._tell(logging.WARNING, "request_hung", text, **told)
                flight.hung = True
                flight.task.cancel()

    async def _take_pulse(self, life: Life, timeout_s: float) -> None:
        try:
            tokens = await _within(timeout_s, self._actor.pulse())
        except TimeoutError:
            return
        except ReplicaError as error:  # whatever it is: a replica that is well comes back at once
            self._bury(life, error.message)
            return
        if isinstance(tokens, Restarted):
            self._bury(life, _UNSEEN)
            return
        if tokens is not None and tokens != life.tokens_seen:
            life.tokens_seen, life.last_progress = tokens, time.monotonic()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._reap)

    def _reap(self, task: asyncio.Task[None]) -> None:
        """A bug in our own code must not leave callers waiting for ever."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a bug in watching over %s", self.name, exc_info=error)
            self.give_up(f"{self.name} is no longer watched: {error!r}")

    async def leave(self, reason: str) -> None:
        """Gives its place in the cluster back: no call comes here until ``join_later`` has got another."""
        if not self._has_place:
            return
        is_alive, self._has_place = self.life is not None, False
        self._retire(f"{self.name} {reason}")
        self._latest = None
        self._tell(logging.INFO, "replica_removed", f"{self.name} {reason}", reason=reason)
        for task in self._tasks:
            task.cancel()
        try:
            if is_alive:
                await self._say_goodbye()
        finally:  # cancelled or not: its cards are wanted elsewhere
            self._actor.kill(restart=False)

    async def give_back(self, reason: str) -> None:
        """``leave``, unless it was given something to do meanwhile."""
        if self.life is not None and not self.life.num_rows:
            await self.leave(reason)

    async def _say_goodbye(self) -> None:
        """Lets the engine close, for a moment."""
        try:
            await _within(_CLOSE_TIMEOUT_S, self._actor.close())
        except (TimeoutError, ReplicaError):
            log.warning("%s did not close by itself", self.name)

    async def close(self) -> None:
        """Ends the replica for good."""
        await self.leave("is closed")


async def _within(seconds: float, reply: Awaitable[T]) -> T:
    """The reply, or TimeoutError. ``asyncio.wait_for`` of Python 3.11 can swallow a cancellation."""
    async with asyncio.timeout(seconds):
        return await reply
