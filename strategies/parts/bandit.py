"""Which of several strategies to run next: the modified upper confidence bound of PlanGEN.

Parmar et al., https://arxiv.org/abs/2502.16111. With R(a) the sum of the scores in [0, 1] of the arm's
trials, C(a) one more than their number, and T the number of trials so far:

    UCB(a) = R(a) / (C(a) R_max) + min(sqrt(2 ln(T + 1) / C(a)), 5)
             + lambda Prior(a) / (1 + T) + alpha_div / (C(a) + 1) + alpha_rec Rec(a)

The paper states neither lambda and the alphas, nor R_max and Rec: they are reconstructed. R_max is 1, the
greatest score there is; Rec(a) is the share of C(a) whose trial bettered the best draft before it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from strategies.parts.voting import argmax

MOST_EXPLORATION = 5.0


@dataclass(frozen=True, slots=True)
class Weights:
    """lambda, alpha_div and alpha_rec: what the prior, rare arms and improvements are worth."""

    prior: float = 1.0
    diversity: float = 0.1
    recovery: float = 0.1


@dataclass(frozen=True, slots=True)
class Arm:
    """What is known of an arm: its prior in [0, 1], and R, C and the number of trials that were better."""

    prior: float = 0.5
    total: float = 0.0
    count: int = 1
    num_better: int = 0

    def played(self, score: float, is_better: bool) -> Arm:
        """Return the arm after a trial with a score in [0, 1]."""
        return replace(
            self, total=self.total + score, count=self.count + 1, num_better=self.num_better + is_better
        )

    def bound(self, num_trials: int, weights: Weights) -> float:
        """Return UCB(a) after ``num_trials`` trials of all arms."""
        explored = math.sqrt(2 * math.log(num_trials + 1) / self.count)
        return (
            self.total / self.count
            + min(explored, MOST_EXPLORATION)
            + weights.prior * self.prior / (1 + num_trials)
            + weights.diversity / (self.count + 1)
            + weights.recovery * self.num_better / self.count
        )


def choose(arms: Sequence[Arm], weights: Weights, among: Collection[int]) -> tuple[int, float]:
    """Return the arm of the greatest bound ``among`` some, and the bound; a tie goes to the first."""
    num_trials = sum(arm.count - 1 for arm in arms)
    bounds = [a.bound(num_trials, weights) if i in among else -math.inf for i, a in enumerate(arms)]
    return (best := argmax(bounds)), bounds[best]
