"""What befell a request on its replicas, and what of that counts against it: values, no Ray."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from actors.replica import Raised, ReplicaInfo
from orchestrator.protocols import Failure

# A request that saw two deaths runs alone from then on: chance rarely strikes twice.
_DEATHS_BEFORE_QUARANTINE = 2
# One share is what a fair replica needs; a queue ahead may need a second; the rest is doubt.
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

    ``home`` is the problem that it is of.
    """

    task: asyncio.Task[Any]
    begun: float
    work_before: int
    most_rows: int
    hung: bool = False
    home: str = ""

    def is_hung(self, life: Life, now: float, timeout_s: float) -> bool:
        """Late, though the replica has done several times what all rows beside it can have asked for.

        A long batch is no hang, nor is a queue: a replica that is fair to its rows has brought each to its
        end once it has done the most that a row may take for each of the rows in flight.
        """
        enough = _FAIR_SHARES * self.most_rows * life.most_work
        return now - self.begun > timeout_s and life.work_done - self.work_before > enough


@dataclass(slots=True, eq=False)
class Life:
    """A replica from ready to death. ``num_rows`` are in flight; ``rows_at_death`` were when it died.

    ``tokens_seen`` is the engine's counter at the last pulse, ``tokens_delivered`` those of its replies:
    what lies between is lost with a death. ``work_done`` are the tokens, or rows where there are none, of
    all replies; ``most_work`` is what a row may take at the most, ``flights`` the calls in flight.
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

    def conclude(self, end: End) -> None:
        """Settles how it ended; the first word holds."""
        if not self.end.done():
            self.end.set_result(end)


@dataclass(frozen=True, slots=True)
class Died:
    """The replica ``member`` died under the call; ``alone`` when nothing but its one row was in flight."""

    member: str
    life: Life
    alone: bool
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """Rows of one problem that travel in one call, and what befell them so far.

    ``num_deaths`` were seen; ``num_raised`` calls of its own raised; ``died_alone`` are the lives that ended
    with nothing else in flight, unless it is known that their nodes were lost. ``avoid`` names the replica
    that failed last. ``failure`` is what the request becomes when it is given up.
    """

    method: str
    home: str
    requests: tuple[Any, ...]
    num_deaths: int = 0
    num_raised: int = 0
    died_alone: tuple[Life, ...] = ()
    avoid: str | None = None
    failure: Failure | None = None

    @property
    def num_failures(self) -> int:
        """What counts against the request, at the most."""
        return self.num_raised + len(self.died_alone)

    def split(self) -> list[Job]:
        return [replace(self, requests=(request,)) for request in self.requests]

    def needs_quarantine(self, max_attempts: int) -> bool:
        """Alone on a replica: after two deaths, and at the last attempt, so that nobody fails for another."""
        if self.failure is None or len(self.requests) > 1:
            return False
        return self.num_deaths >= _DEATHS_BEFORE_QUARANTINE or self.num_failures >= max_attempts - 1

    def after(self, outcome: Raised | Died) -> Job:
        """The job after a failed attempt."""
        if isinstance(outcome, Raised):
            failure = Failure(outcome.type, outcome.message)
            num_raised = self.num_raised + (len(self.requests) == 1)
            return replace(self, num_raised=num_raised, avoid=outcome.member or self.avoid, failure=failure)
        message = f"{outcome.member} died under this request alone ({outcome.message})"
        return replace(
            self,
            num_deaths=self.num_deaths + 1,
            died_alone=(*self.died_alone, outcome.life) if outcome.alone else self.died_alone,
            avoid=outcome.member,
            failure=Failure("ReplicaDeath", message),
        )
