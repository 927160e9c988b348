"""The rounds of a block of problems: a round ends when every problem has bid or is done.

The board decides and accounts; it waits for nothing. The same bids give the same grants, whatever their order
of arrival: a round sees them in the order of the problems. An interrupted run begins with an empty board: its
problems bid again, in the same rounds, with what each bid was granted. A grant that was recorded stands
whatever the others bid now, and what is left of the budget bounds the new ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from orchestrator.allocation.allocator import Allocator
from orchestrator.allocation.bids import Bid


class Recorded(Protocol):
    """What a bid was granted by an earlier part of the run: parcels of ``cost`` samples, in a round."""

    @property
    def round(self) -> int: ...

    @property
    def granted(self) -> int: ...

    @property
    def cost(self) -> float: ...


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
        self._recorded: dict[int, Recorded] = {}
        self._promised: defaultdict[int, float] = defaultdict(float)
        self._first: dict[int, Sequence[float]] = {}
        self._pooling: set[int] = set()

    def promise(self, problem: int, records: Iterable[Recorded], unused: float = 0.0) -> None:
        """Note what a problem was granted by an earlier part of the run, and what it gave back of that."""
        self._promised[problem] += sum(r.granted * r.cost for r in records) - unused

    def pool(self, problem: int, rewards: Sequence[float]) -> None:
        """Note the rewards of a problem's first samples; it then waits for those of the others."""
        self._thinking.remove(problem)
        self._first[problem] = rewards
        self._pooling.add(problem)

    def pooled(self) -> tuple[set[int], tuple[float, ...]]:
        """Return the problems that need not wait any longer, and the block's first rewards, by problem."""
        if self._thinking or not self._pooling:
            return set(), ()
        waiting, self._pooling = self._pooling, set()
        self._thinking |= waiting
        return waiting, tuple(x for i in sorted(self._first) for x in self._first[i])

    def bid(self, problem: int, bid: Bid, recorded: Recorded | None = None) -> None:
        """Note that a problem has done its share of the round, and what this bid was granted before."""
        self._thinking.remove(problem)
        self._bids[problem] = bid
        if recorded is not None:
            self._recorded[problem] = recorded

    def done(self, problem: int, unused: float = 0.0) -> None:
        """Note that a problem has ended, failed or met its limit; ``unused`` is what it gives back."""
        self._thinking.discard(problem)
        self._bids.pop(problem, None)
        self._recorded.pop(problem, None)
        self._promised.pop(problem, None)
        self.left += unused
        self.granted -= unused

    def settle(self) -> dict[int, int]:
        """Return the parcels of problems that need not wait any longer: none while one is thinking.

        Those that are granted a parcel are thinking again. 0 ends a problem's search.
        """
        if self._thinking or not self._bids:
            return {}
        self.num_rounds += 1
        granted = self._due() | self._decided(sorted(self._bids))
        granted = granted or self._later() or self._decided(sorted(self._bids.keys() - self._recorded.keys()))
        granted = granted or dict.fromkeys(sorted(self._bids), 0)
        for i, num in granted.items():
            self._give(i, num)
        return granted

    def _due(self) -> dict[int, int]:
        """Return the recorded grants of this round, and those of rounds before it."""
        due = {i: r.granted for i, r in self._recorded.items() if r.round <= self.num_rounds}
        return {i: num for i, num in due.items() if num}

    def _later(self) -> dict[int, int]:
        """Continue with the next round that has recorded grants, and return these; nothing without any."""
        rounds = [r.round for r in self._recorded.values() if r.granted]
        self.num_rounds = max(self.num_rounds, min(rounds, default=0))
        return self._due()

    def _decided(self, bidding: Sequence[int]) -> dict[int, int]:
        """Return what the allocator grants to bids without a record, of what no record has promised."""
        parcels = self._allocator.grant([self._bids[i] for i in bidding], self.left)
        free, decided = self.left - sum(self._promised.values()), dict[int, int]()
        chosen = [
            (i, num) for i, num in zip(bidding, parcels, strict=True) if num and i not in self._recorded
        ]
        for i, num in sorted(chosen, key=lambda pair: -self._bids[pair[0]].gain):
            cost = num * self._bids[i].cost
            if cost <= free:
                decided[i], free = num, free - cost
        return decided

    def _give(self, problem: int, num: int) -> None:
        spent = num * self._bids.pop(problem).cost
        self.left, self.granted = self.left - spent, self.granted + spent
        if self._recorded.pop(problem, None) is not None:
            self._promised[problem] -= spent
        self._thinking |= {problem} if num else set()
