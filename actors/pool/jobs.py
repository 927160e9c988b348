"""The failures of a request on its replicas, and which of them count against it: values, no Ray."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from actors.pool.replica import Raised, ReplicaInfo
from orchestrator.protocols import Failure, Method

# A request that met two deaths runs alone from then on: two are rarely chance.
_DEATHS_BEFORE_QUARANTINE = 2
# One share is what a fair replica needs; a queue ahead may need a second; the rest is a safety margin.
_FAIR_SHARES = 4


class End(Enum):
    """How a life ended, known for certain only when the replica is back; the value is for a person."""

    DIED = "the process died"
    NODE_LOST = "its node was lost"
    LINK_LOST = "the connection broke, and the process lives"
    SILENT = "it gave no sign of life"


@dataclass(slots=True, eq=False)
class Flight:
    """A call in flight: the task that waits for it, and what the replica had done when it began.

    ``home`` is its problem.
    """

    task: asyncio.Task[Any]
    begun: float
    work_before: int
    most_rows: int
    hung: bool = False
    home: str = ""

    def is_hung(self, life: Life, now: float, timeout_s: float) -> bool:
        """Return whether it is late, though the replica has done several times the work of all other rows.

        A long batch is not a hang, nor is a queue: a replica that is fair to its rows has finished each of
        them once it has done, for each row in flight, the most work that a row may take.
        """
        enough = _FAIR_SHARES * self.most_rows * life.most_work
        return now - self.begun > timeout_s and life.work_done - self.work_before > enough


@dataclass(slots=True, eq=False)
class Life:
    """A replica from ready to death. ``num_rows`` are in flight; ``rows_at_death`` were when it died.

    ``tokens_seen`` is the engine's counter at the last pulse, ``tokens_delivered`` those of its replies:
    what lies between is lost with a death. ``work_done`` are the tokens, or rows where there are none, of
    all replies; ``most_work`` is the most that a row may take, ``flights`` the calls in flight.
    """

    info: ReplicaInfo
    end: asyncio.Future[End]
    num_rows: int = 0
    rows_at_death: int = 0
    killed: bool = False
    last_progress: float = 0.0
    tokens_seen: int = 0
    tokens_delivered: int = 0
    work_done: int = 0
    most_work: int = 1
    flights: set[Flight] = field(default_factory=set)

    @property
    def lost_tokens(self) -> int:
        return max(0, self.tokens_seen - self.tokens_delivered)

    def resume(self, end: asyncio.Future[End], now: float) -> None:
        """Resume a life that was thought dead: its calls are still in flight, its lost tokens are counted."""
        self.end, self.last_progress = end, now
        self.tokens_delivered = max(self.tokens_delivered, self.tokens_seen)

    def conclude(self, end: End) -> None:
        """Record how it ended; the first record stays."""
        if not self.end.done():
            self.end.set_result(end)


@dataclass(frozen=True, slots=True)
class Died:
    """The replica ``member`` died under the call; ``alone`` when nothing but its one row was in flight.

    ``before``: it had died before the call reached it, so no request is to blame. ``end`` says how this
    life ended: it may be resumed, and end again.
    """

    member: str
    life: Life
    alone: bool
    message: str
    before: bool = False
    end: asyncio.Future[End] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "end", self.life.end)


@dataclass(frozen=True, slots=True)
class Job:
    """Rows of one problem that are sent in one call, and their failures so far.

    ``deaths`` are the ends of the lives that ended under it, of which ``died_alone`` had nothing else in
    flight; ``num_raised`` of its calls raised. ``avoid`` names the replica that failed last. ``failure``
    is what the request becomes when it is given up.
    """

    method: Method
    home: str
    requests: tuple[Any, ...]
    deaths: tuple[asyncio.Future[End], ...] = ()
    num_raised: int = 0
    died_alone: tuple[asyncio.Future[End], ...] = ()
    avoid: str | None = None
    failure: Failure | None = None

    @property
    def num_deaths(self) -> int:
        """The deaths without those that are known to be lost nodes."""
        return sum(not (end.done() and end.result() is End.NODE_LOST) for end in self.deaths)

    @property
    def num_failures(self) -> int:
        """The failures that count against the request, at most."""
        return self.num_raised + len(self.died_alone)

    def split(self) -> list[Job]:
        return [replace(self, requests=(request,)) for request in self.requests]

    def needs_quarantine(self, max_attempts: int) -> bool:
        """Return whether it must run alone on a replica, so that no request fails for another.

        After two deaths, and at the last attempt.
        """
        if self.failure is None or len(self.requests) > 1:
            return False
        return self.num_deaths >= _DEATHS_BEFORE_QUARANTINE or self.num_failures >= max_attempts - 1

    def after(self, outcome: Raised | Died) -> Job:
        """Return the job after a failed attempt."""
        if isinstance(outcome, Raised):
            failure = Failure(outcome.type, outcome.message)
            num_raised = self.num_raised + (len(self.requests) == 1)
            return replace(self, num_raised=num_raised, avoid=outcome.member or self.avoid, failure=failure)
        message = f"{outcome.member} died under this request alone ({outcome.message})"
        ends = () if outcome.before else (outcome.end,)
        return replace(
            self,
            deaths=self.deaths + ends,
            died_alone=self.died_alone + ends if outcome.alone else self.died_alone,
            avoid=outcome.member,
            failure=Failure("ReplicaDeath", message),
        )
