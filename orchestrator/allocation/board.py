"""The rounds of a block of problems: a round ends when every problem has bid or is done.

The board decides and accounts; it waits for nothing. The same bids give the same grants, whatever their order
of arrival: a round sees them in the order of the problems.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.allocation.allocator import Allocator
from orchestrator.allocation.bids import Bid


class Board:
    """The problems of one block, by index: thinking, bidding or done; and the samples that are left.

    ``left`` is what may be granted beside what every problem begins with. A bid stands until it is granted,
    or until a round grants nothing: then nothing ever will, and every bid gets 0.
    """

    def __init__(self, allocator: Allocator, problems: Iterable[int], left: float) -> None:
        self.left = left
        self.granted = 0.0
        self.num_rounds = 0
        self._allocator = allocator
        self._thinking = set(problems)
        self._bids: dict[int, Bid] = {}

    def bid(self, problem: int, bid: Bid) -> None:
        """Note that a problem has done its share of the round."""
        self._thinking.remove(problem)
        self._bids[problem] = bid

    def done(self, problem: int, unused: float = 0.0) -> None:
        """Note that a problem has ended, failed or met its limit; ``unused`` is what it gives back."""
        self._thinking.discard(problem)
        self._bids.pop(problem, None)
        self.left += unused
        self.granted -= unused

    def settle(self) -> dict[int, int]:
        """Return the parcels of problems that need not wait any longer: none while one is thinking.

        Those that are granted a parcel are thinking again. 0 ends a problem's search.
        """
        if self._thinking or not self._bids:
            return {}
        order = sorted(self._bids)
        bids = [self._bids[i] for i in order]
        parcels = dict(zip(order, self._allocator.grant(bids, self.left), strict=True))
        granted = {i: num for i, num in parcels.items() if num} or dict.fromkeys(order, 0)
        spent = sum(num * self._bids[i].cost for i, num in granted.items())
        self.left, self.granted = self.left - spent, self.granted + spent
        self.num_rounds += 1
        for i, num in granted.items():
            del self._bids[i]
            self._thinking |= {i} if num else set()
        return granted
