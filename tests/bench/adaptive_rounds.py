"""``allocator=rounds`` on stored samples: the board of a real run, with rewards that are known already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.allocator import TopShare
from orchestrator.allocation.bids import Bid, need
from orchestrator.allocation.board import Board
from orchestrator.types import Reward
from tests.bench.adaptive_arrays import Answered, Floats, Outcome, Problem, answered, best_of
from tests.bench.adaptive_samples import List

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
    problems, first = samples.problems, setting.first
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
    granted_samples = [each[:num] for each, num in zip(problems, counts, strict=True)]
    return answered(granted_samples, lambda drawn: _outcome(drawn, first))


def _gain(samples: Problem, value: Value) -> float:
    return need([value(s.reward) for s in samples if s.finished])


def _outcome(samples: Problem, first: int) -> Outcome:
    """Return the best of samples of which those after the ``first`` came one after another."""
    tokens = [s.num_tokens for s in samples]
    waits = max(tokens[:first]) + sum(tokens[first:])
    return best_of(samples), len(samples), sum(tokens), waits, len(samples)


def uniform_at_tokens(samples: List, tokens: float) -> Floats:
    """Return the expected accuracy, by problem, of best of N at a mean of ``tokens`` a problem.

    Between two N some problems, drawn by lot, have one sample more: the two accuracies are mixed.
    """
    each = [samples.first(n) for n in range(1, samples.size + 1)]
    costs = [float(own.tokens.mean()) for own in each]
    above = int(np.clip(np.searchsorted(costs, tokens), 1, len(costs) - 1))
    weight = float(np.clip((tokens - costs[above - 1]) / (costs[above] - costs[above - 1]), 0.0, 1.0))
    return (1 - weight) * each[above - 1].right + weight * each[above].right
