"""Who gets the next samples: pure functions from the bids of a round to parcels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from annotated_types import Gt, Le

from orchestrator.allocation.bids import Bid
from orchestrator.schema import checked


class Allocator(Protocol):
    """From the bids of a round to parcels."""

    def grant(self, bids: Sequence[Bid], left: float) -> Sequence[int]:
        """Return how many parcels each bid gets, at no more than ``left`` together; ties by their order."""
        ...


@dataclass(frozen=True, slots=True)
@checked("allocator")
class TopShare:
    """One parcel for each of the greatest gains: the top ``share`` of the bids, at least one.

    A bid without a gain gets nothing, and neither does one that costs more than is left.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.1

    def grant(self, bids: Sequence[Bid], left: float) -> list[int]:
        order = sorted(range(len(bids)), key=lambda i: (-bids[i].gain, i))
        num_places = max(1, math.ceil(self.share * len(bids)))
        parcels = [0] * len(bids)
        for i in order:
            bid = bids[i]
            if num_places and bid.gain > 0 and bid.cost <= left:
                parcels[i], left, num_places = 1, left - bid.cost, num_places - 1
        return parcels
