"""The protocol of a search method."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from orchestrator.search.session import Session
from orchestrator.types import Solution


@runtime_checkable
class Strategy(Protocol):
    """A search method: a frozen dataclass of knobs with one coroutine."""

    @property
    def readouts(self) -> tuple[str, ...]:
        """The verifier read-outs that it can use; empty if it needs no verifier."""
        ...

    async def solve(self, session: Session) -> Solution:
        """Return the candidates for the problem of ``session``, with the answer among them.

        Raises ProblemError, which ends this problem only.
        """
        ...


@runtime_checkable
class Budgeted(Protocol):
    """A strategy that declares how it reads ``budget=N``, as all shipped strategies do."""

    budget_knob: ClassVar[str | None]
    """The knob that is N; None if the budget is not used."""

    independent_samples: ClassVar[bool]
    """Whether the candidates are independent samples: the first n of N are those of a run with N = n."""
