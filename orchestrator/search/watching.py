"""What sees a search while it runs: for progress that is true, not estimated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.search.account import Account
from orchestrator.types import NodeRecord, StepRecord, Trajectory


class Watch(Protocol):
    """Sees a search, and changes nothing: its methods return at once and raise nothing."""

    def begins(self, account: Account) -> None:
        """See the account that the search spends from, before its first call."""
        ...

    def reached(self, trajectories: Sequence[Trajectory]) -> None:
        """See what a call has returned: the trajectories, extended or scored."""
        ...

    def noted(self, scope: str, history: Sequence[StepRecord | NodeRecord], *, begins: bool) -> None:
        """See a history of a scope so far: the one that was seen last, or one that ``begins`` after it."""
        ...
