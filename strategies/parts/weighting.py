"""From rewards to log-weights: the two weightings of particle methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from orchestrator.types import Trajectory
from strategies.parts.population import Population
from strategies.parts.resampling import Indices
from strategies.parts.weights import (
    Aggregation,
    LogWeights,
    Weights,
    aggregate,
    log_odds_of,
    log_sigmoid,
)

WeightingName = Literal["absolute", "incremental"]


@runtime_checkable
class Weighting(Protocol):
    """How a step changes log-weights ``[N]``, and how resampling does.

    As a knob it has its own aggregation: that of the strategy, and ``epsilon``, are for the named ones.
    """

    def weigh(self, parents: Population, children: Sequence[Trajectory]) -> LogWeights:
        """Return log-weights of the children; child i extends parent i (or equals it if that had ended)."""
        ...

    def carry(self, log_weights: LogWeights, probabilities: Weights, ancestors: Indices) -> LogWeights:
        """Return log-weights after slots were redrawn as ``ancestors`` from ``probabilities``."""
        ...


@dataclass(frozen=True, slots=True)
class Absolute:
    """The log-weight is the log-odds of the current reward: nothing accumulates (arXiv 2502.01618).

    With resampling at every step, and where all trajectories are equally long, the target is policy(x)
    times the product over steps t of r_t / (1 - r_t). An ended trajectory counts its last reward again at
    every later step of the population, so where lengths differ no target is fixed. Rewards are clipped to
    [epsilon, 1 - epsilon], so that a 0 or 1 does not decide alone.
    """

    aggregation: Aggregation = "last"
    epsilon: float = 1e-7

    def weigh(self, parents: Population, children: Sequence[Trajectory]) -> LogWeights:
        return tuple(self.log_weight(child) for child in children)

    def carry(self, log_weights: LogWeights, probabilities: Weights, ancestors: Indices) -> LogWeights:
        return tuple(log_weights[i] for i in ancestors)

    def log_weight(self, trajectory: Trajectory) -> float:
        """Return the clipped log-odds; -inf where no step is scored."""
        rewards = trajectory.rewards
        if not rewards:
            return -math.inf
        bound = math.log1p(-self.epsilon) - math.log(self.epsilon) if self.epsilon else math.inf
        return min(bound, max(-bound, aggregate(rewards, self.aggregation).log_odds))


@dataclass(frozen=True, slots=True)
class Incremental:
    """Log-weights grow by log r_t - log r_{t-1}, with r_0 = 1: the target is policy(x) r(x), exactly.

    After resampling from probabilities q a particle keeps the weight W / (N q), whatever q is: the mean
    weight stays an unbiased estimate of the evidence, the policy's mean of r(x) (Del Moral, 2004), at
    any gate, scheme and tempering. A reward of 0 rules a particle out forever. With a ``power``
    above 0 the target is policy(x) r(x)^power.
    """

    aggregation: Aggregation = "last"
    power: float = 1.0

    def weigh(self, parents: Population, children: Sequence[Trajectory]) -> LogWeights:
        rows = zip(parents.log_weights, parents.particles, children, strict=True)
        return tuple(self._grow(lw, self.potential(p), self.potential(c)) for lw, p, c in rows)

    def carry(self, log_weights: LogWeights, probabilities: Weights, ancestors: Indices) -> LogWeights:
        after = np.asarray(log_weights)[ancestors] - np.log(len(ancestors) * probabilities[ancestors])
        return tuple(float(x) for x in after)

    def potential(self, trajectory: Trajectory) -> float:
        """Return power * log r of the steps scored so far; 0 before the first."""
        if not trajectory.rewards:
            return 0.0
        return self.power * log_sigmoid(log_odds_of(trajectory, self.aggregation))

    @staticmethod
    def _grow(log_weight: float, before: float, now: float) -> float:
        dead = log_weight == -math.inf or now == -math.inf
        return -math.inf if dead else log_weight + now - before


def weighting(name: WeightingName | Weighting, aggregation: Aggregation, epsilon: float) -> Weighting:
    """Return the named weighting, or an object unchanged; ``epsilon`` clips rewards of ``absolute`` alone."""
    if not isinstance(name, str):
        return name
    return Absolute(aggregation, epsilon) if name == "absolute" else Incremental(aggregation)
