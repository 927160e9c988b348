"""``allocator=rounds``: the budget of a block of problems goes where its bids say, round by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Le

from orchestrator.allocation.allocator import TopShare
from orchestrator.allocation.bids import Bid
from orchestrator.schema import Count, checked

Gain = Literal["need", "vote"]


@dataclass(frozen=True)
@checked("allocator")
class Uniform:
    """Every problem gets the budget: the strategy as it is."""


UNIFORM = Uniform()


@dataclass(frozen=True)
@checked("allocator")
class Rounds:
    """``first`` samples for each problem, then a ``parcel`` for the top ``share`` of the bids of each round.

    The budget is the mean number of samples a problem, in blocks of ``block`` problems by index. ``gain`` is
    what a bid states: ``need`` is what the greatest reward leaves to 1, ``vote`` the doubt in the leader of a
    vote. A problem has at most ``most`` samples (null: twice the budget): those that the policy never
    solves would take the rest.
    """

    first: Count = 2
    parcel: Count = 1
    share: Annotated[float, Gt(0), Le(1)] = 0.1
    block: Count = 256
    gain: Gain = "need"
    most: Count | None = None

    def grant(self, bids: Sequence[Bid], left: float) -> Sequence[int]:
        return TopShare(self.share).grant(bids, left)
