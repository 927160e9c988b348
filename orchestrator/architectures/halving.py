"""Successive halving: all arms on a few problems, the better half on twice as many, until one is left.

Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
https://arxiv.org/abs/1502.07943. Arms see the same problems in the same order, so that an easy problem
favours none; what is known of an arm is kept from one round to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

Stopped = Literal["one is left", "no problem is left", "the cost is reached"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What an arm did on some problems: 1.0 where it was right, and what it cost on each.

    ``spent`` is what measuring it has cost; less than the sum of ``costs`` where replies were known before.
    """

    right: tuple[float, ...]
    costs: tuple[float, ...]
    spent: float


Measure = Callable[[int, int, int], Measured]
"""Return what an arm does on ``num`` problems from ``offset``: ``measure(arm, offset, num)``."""


@dataclass
class Arm:
    """What is known of an arm so far."""

    number: int
    right: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        return fmean(self.right) if self.right else 0.0

    @property
    def cost(self) -> float:
        """The mean cost of a problem."""
        return fmean(self.costs) if self.costs else math.inf

    def add(self, measured: Measured) -> None:
        self.right += measured.right
        self.costs += measured.costs


@dataclass(frozen=True, slots=True)
class Round:
    """One round: how many problems its arms have seen, and their numbers from the best."""

    num_problems: int
    ranking: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found: ``ranking`` has every arm, the best first; those of later rounds come first."""

    arms: Sequence[Arm]
    ranking: tuple[int, ...]
    rounds: tuple[Round, ...]
    spent: float
    stopped: Stopped

    @property
    def best(self) -> Arm:
        return self.arms[self.ranking[0]]


@dataclass
class _Search:
    measure: Measure
    arms: list[Arm]
    most: float
    spent: float = 0.0

    def see(self, number: int, num_problems: int) -> bool:
        """Have an arm see as many problems; return False, and measure nothing, once the cost is reached."""
        if self.spent >= self.most:
            return False
        arm = self.arms[number]
        if (num := num_problems - len(arm.right)) > 0:
            measured = self.measure(number, len(arm.right), num)
            arm.add(measured)
            self.spent += measured.spent
        return True

    def ranked(self, numbers: Sequence[int]) -> list[int]:
        """Return arms from the best: by accuracy, of equal ones the cheaper first, then the earlier."""
        return sorted(numbers, key=lambda i: (-self.arms[i].accuracy, self.arms[i].cost, i))


def halve(
    num_arms: int,
    measure: Measure,
    *,
    first: int,
    num_problems: int,
    cost: float = math.inf,
    keep: float = 0.5,
) -> Outcome:
    """Return the ranking of arms by successive halving.

    Each round keeps a share ``keep`` of its arms, rounded up but fewer, and shows them 1 / ``keep`` as many
    problems, from ``first`` up to ``num_problems``. Nothing is measured once ``cost`` is spent, so that the
    last measurement may pass it; a round that it cuts off decides nothing, except the first.
    """
    search = _Search(measure, [Arm(i) for i in range(num_arms)], cost)
    alive, dropped, rounds = list(range(num_arms)), list[int](), list[Round]()
    shown = min(first, num_problems)
    stopped: Stopped = "one is left"
    while True:
        seen = [i for i in alive if search.see(i, shown)]
        if len(seen) < len(alive):
            stopped = "the cost is reached"
            if not rounds:
                alive, dropped = search.ranked(seen), [i for i in alive if i not in seen]
            break
        alive = search.ranked(alive)
        rounds.append(Round(shown, tuple(alive)))
        num_kept = max(1, min(len(alive) - 1, math.ceil(len(alive) * keep)))
        if shown >= num_problems and num_kept > 1:
            stopped = "no problem is left"
            break
        alive, dropped = alive[:num_kept], [*alive[num_kept:], *dropped]
        if num_kept == 1:
            break
        shown = min(num_problems, math.ceil(shown / keep))
    return Outcome(search.arms, (*alive, *dropped), tuple(rounds), search.spent, stopped)
