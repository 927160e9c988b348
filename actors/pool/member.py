"""One replica as the controller sees it: its calls, its pulse, and what hangs there."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.pool.counting import Tokens, most_work, num_tokens, work_of
from actors.pool.handles import ReplicaDied, ReplicaError
from actors.pool.jobs import Died, Flight, Life
from actors.pool.keeper import Keeper, within
from actors.pool.replica import Raised, Restarted
from orchestrator.protocols import Method
from orchestrator.types import Overhead

_PULSE_S = 5.0
_LAST_PULSE_S = 0.25
_UNSEEN = "it was restarted, and its death was not seen"


@dataclass(eq=False)
class Member(Keeper):
    """A replica that takes calls. ``closed``: only a request in quarantine may call it."""

    closed: bool = False
    tokens: Tokens = field(default_factory=Tokens)

    def idle_s(self, now: float) -> float:
        """Return the seconds since it last had something to do; 0 while it has, and while it is not alive."""
        return now - self.life.last_progress if self.life is not None and not self.life.num_rows else 0.0

    async def call(self, life: Life, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Died:
        """Return the replies, or what happened instead. Cancelling it cancels the call inside the replica."""
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
        """Record a call that is about to be awaited."""
        task = asyncio.current_task()
        assert task is not None
        life.most_work = max(life.most_work, *(most_work(r) for r in requests))
        rows = max(life.num_rows, len(requests))
        flight = Flight(task, time.monotonic(), life.work_done, rows, home=getattr(requests[0], "home", ""))
        life.flights.add(flight)
        return flight

    async def release(self, home: str) -> Overhead:
        """Let the replica forget a problem that has ended; return what was discarded, if that is known."""
        life = self.life
        if life is None:
            return Overhead()
        try:
            wasted = await within(_PULSE_S, self._actor.release(home))
        except (TimeoutError, ReplicaError):
            return Overhead()
        life.tokens_delivered += wasted.speculated_tokens  # they are accounted for
        return wasted

    async def spent_on(self, life: Life, requests: Sequence[Any]) -> int:
        """Return the tokens generated for a cancelled call: its share of what was generated, not delivered.

        An estimate: the replica counts its tokens, not by request.
        """
        await self._take_pulse(life, _LAST_PULSE_S)
        share = life.lost_tokens * len(requests) // max(1, life.num_rows)
        spent = min(share, sum(most_work(r) for r in requests))
        life.tokens_delivered += spent  # they are accounted for
        return spent

    async def give_back(self, reason: str) -> None:
        """``leave``, unless it was given something to do in the meantime."""
        if self.life is not None and not self.life.num_rows:
            await self.leave(reason)

    async def _watch(self) -> None:
        """Kill the process when no token is made for ``request_timeout_s`` while rows are in flight.

        An idle replica is probed too: its death is noticed before a request meets it.
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
                self._emit(logging.WARNING, "replica_hung", f"{self.name}: {reason}", rows=life.num_rows)
                self._bury(life, reason)

    def _cut_hung_calls(self, life: Life) -> None:
        """Cancel calls that get no reply while the replica answers others: they are retried elsewhere."""
        now = time.monotonic()
        for flight in sorted(life.flights, key=lambda flight: flight.begun):
            flight.most_rows = max(flight.most_rows, life.num_rows)
            if not flight.hung and flight.is_hung(life, now, self.config.request_timeout_s):
                seconds = round(now - flight.begun, 1)
                text = f"{self.name}: a call of problem {flight.home} has hung for {seconds:g} s: cancelled"
                fields = {"problem": flight.home, "seconds": seconds}
                self._emit(logging.WARNING, "request_hung", text, **fields)
                flight.hung = True
                flight.task.cancel()

    async def _take_pulse(self, life: Life, timeout_s: float) -> None:
        try:
            tokens = await within(timeout_s, self._actor.pulse())
        except TimeoutError:
            return
        except ReplicaError as error:  # whatever it is: a healthy replica comes back at once
            self._bury(life, error.message)
            return
        if isinstance(tokens, Restarted):
            self._bury(life, _UNSEEN)
            return
        if tokens is not None and tokens != life.tokens_seen:
            life.tokens_seen, life.last_progress = tokens, time.monotonic()
