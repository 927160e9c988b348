"""``allocator=rounds`` on stored samples: the board of a real run, with rewards that are known already."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.allocator import TopShare
from orchestrator.allocation.bids import Bid, need
from orchestrator.allocation.board import Board
from orchestrator.types import Reward
from tests.bench.adaptive_samples import Answered, Floats, List

Sample = tuple[float, bool, int]
Value = Callable[[float], float]
"""From a reward's log-odds to a value in [0, 1]: a calibration, or the reward as it is."""


@dataclass(frozen=True)
class Setting:
    """The knobs of ``allocator=rounds`` that are compared; ``most`` samples of a problem."""

    first: int = 2
    most: int = 12
    share: float = 0.1

    @property
    def name(self) -> str:
        return f"first {self.first}, most {self.most}, share {self.share:g}"


def as_it_is(log_odds: float) -> float:
    """Return the reward of log-odds."""
    return Reward(log_odds).value


def rounds(samples: List, mean: int, setting: Setting, value: Value = as_it_is) -> Answered:
    """Return what a run with a mean of ``mean`` samples in one block answers and costs."""
    problems, first = samples.arrays, setting.first
    board = Board(TopShare(setting.share), range(len(problems)), (mean - first) * len(problems))
    counts = [first] * len(problems)
    thinking = list(range(len(problems)))
    while thinking:
        for i in thinking:
            if counts[i] >= min(setting.most, len(problems[i])):
                board.done(i)
            else:
                board.bid(i, Bid(_gain(problems[i][: counts[i]], value), 1.0))
        granted = board.settle()
        thinking = [i for i, num in granted.items() if num]
        for i in thinking:
            counts[i] += granted[i]
    return _best(problems, counts, first)


def _gain(samples: Sequence[Sample], value: Value) -> float:
    return need([value(log_odds) for log_odds, _, _ in samples if log_odds > -math.inf])


def _best(problems: Sequence[Sequence[Sample]], counts: Sequence[int], first: int) -> Answered:
    """Return best of the first samples of each problem; those after ``first`` came one after another."""
    own = [each[:num] for each, num in zip(problems, counts, strict=True)]
    best = [max(range(len(each)), key=lambda i, each=each: (each[i][0], -i)) for each in own]  # type: ignore[misc]
    waits = [max(t for _, _, t in each[:first]) + sum(t for _, _, t in each[first:]) for each in own]
    return Answered(
        np.asarray([float(each[i][1]) for each, i in zip(own, best, strict=True)]),
        np.asarray(counts, dtype=float),
        np.asarray([float(sum(t for _, _, t in each)) for each in own]),
        np.asarray(waits, dtype=float),
        np.asarray(counts, dtype=float),
    )


def uniform_at_tokens(samples: List, tokens: float) -> Floats:
    """Return the expected accuracy, by problem, of best of N at a mean of ``tokens`` a problem.

    Between two N some problems, drawn by lot, have one sample more: the two accuracies are mixed.
    """
    costs, rights = [], []
    for n in range(1, samples.size + 1):
        own = _best(samples.arrays, [n] * len(samples.arrays), n)
        costs.append(float(own.tokens.mean()))
        rights.append(own.right)
    above = int(np.clip(np.searchsorted(costs, tokens), 1, len(costs) - 1))
    weight = float(np.clip((tokens - costs[above - 1]) / (costs[above] - costs[above - 1]), 0.0, 1.0))
    return (1 - weight) * rights[above - 1] + weight * rights[above]
