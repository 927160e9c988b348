"""The seam of a search method: what it offers, and the session that it is given."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from orchestrator.session import Session
from orchestrator.types import Solution


@runtime_checkable
class Strategy(Protocol):
    """A search method: a frozen dataclass of knobs with one coroutine."""

    @property
    def readouts(self) -> tuple[str, ...]:
        """The verifier read-outs it can work with; empty where it needs no verifier."""
        ...

    async def solve(self, session: Session) -> Solution: ...
