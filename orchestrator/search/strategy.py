"""The seam of a search method: what it offers, and the session that it is given."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from orchestrator.search.session import Session
from orchestrator.types import Solution


@runtime_checkable
class Strategy(Protocol):
    """A search method: a frozen dataclass of knobs with one coroutine."""

    @property
    def readouts(self) -> tuple[str, ...]:
        """The verifier read-outs it can work with; empty where it needs no verifier."""
        ...

    async def solve(self, session: Session) -> Solution: ...


@runtime_checkable
class Budgeted(Protocol):
    """A strategy that says how ``budget=N`` is read, as the shipped ones do."""

    budget_knob: ClassVar[str | None]
    """The knob that is N; None where the budget is not read."""

    independent_samples: ClassVar[bool]
    """Whether the candidates are independent samples: the first n of N are those of a run with N = n."""
