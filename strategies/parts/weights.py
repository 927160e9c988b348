"""Weights in log space: normalising, measuring degeneracy, aggregating a trajectory's rewards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from orchestrator.types import Reward, Trajectory

Weights = npt.NDArray[np.float64]
LogWeights = tuple[float, ...]
AggregationName = Literal["last", "min", "prod", "mean", "model"]


@runtime_checkable
class Aggregator(Protocol):
    """Return one reward for a trajectory from those of its steps (one or more, in order), as log-odds."""

    def __call__(self, log_odds: Sequence[float], /) -> float: ...


Aggregation = AggregationName | Aggregator


def log_sum_exp(log_weights: npt.ArrayLike) -> float:
    """Return log(sum(exp(log_weights))); -inf when all are -inf. Raises ValueError on NaN or nothing."""
    lw = _checked(log_weights)
    top = float(lw.max())
    return top if math.isinf(top) else top + math.log(float(np.exp(lw - top).sum()))


def log_mean_exp(log_weights: npt.ArrayLike) -> float:
    """Return log of the mean of exp(log_weights): the log-evidence, where weights are incremental."""
    return log_sum_exp(log_weights) - math.log(np.size(log_weights))


def normalise(log_weights: npt.ArrayLike) -> Weights:
    """Return weights ``[N]`` that sum to 1, proportional to exp(log_weights).

    The two limits that exp cannot reach: entries of +inf share all the weight, and when all are -inf each
    has 1/N. Raises ValueError on NaN or nothing.
    """
    lw = _checked(log_weights)
    top = float(lw.max())
    weights = np.asarray(lw == top, dtype=np.float64) if math.isinf(top) else np.exp(lw - top)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def effective_sample_size(weights: Weights) -> float:
    """Return ESS = 1 / sum of squares, in [1, N]; ``weights`` ``[N]`` sum to 1 (Kong, 1992)."""
    return float(min(len(weights), 1.0 / np.square(weights).sum()))


def normalised_entropy(weights: Weights) -> float:
    """Return entropy / log N, in [0, 1]; 1.0 for one weight, which is as even as possible."""
    if len(weights) == 1:
        return 1.0
    positive = weights[weights > 0]
    entropy = -float((positive * np.log(positive)).sum()) / math.log(len(weights))
    return min(1.0, max(0.0, entropy))


def log_sigmoid(log_odds: float) -> float:
    """Return log of the value that has these log-odds; exact at both infinities."""
    if log_odds == -math.inf:
        return -math.inf
    return min(log_odds, 0.0) - math.log1p(math.exp(-abs(log_odds)))


def log_product(a: float, b: float) -> float:
    """Return the log of a product, a + b; a factor of 0 decides, whatever the other is."""
    return -math.inf if -math.inf in (a, b) else a + b


def _log_odds(log_value: float, log_complement: float) -> float:
    """Return log-odds from log v and log(1 - v), where at most one of them is -inf."""
    return math.inf if log_complement == -math.inf else log_value - log_complement


def _prod(log_odds: Sequence[float]) -> float:
    log_value = sum(log_sigmoid(x) for x in log_odds)
    complement = -math.expm1(log_value)
    return _log_odds(log_value, math.log(complement) if complement > 0 else -math.inf)


def _mean(log_odds: Sequence[float]) -> float:
    # 1 - v is sigmoid(-x): averaging both sides separately keeps the digits of a mean near 1.
    return _log_odds(
        log_mean_exp([log_sigmoid(x) for x in log_odds]), log_mean_exp([log_sigmoid(-x) for x in log_odds])
    )


_AGGREGATIONS: Mapping[AggregationName, Aggregator] = {
    "last": lambda log_odds: log_odds[-1],
    "min": min,
    "prod": _prod,
    "mean": _mean,
    # The paper's "model" aggregation is a verifier's read-out of the whole text: its latest number.
    "model": lambda log_odds: log_odds[-1],
}
AGGREGATIONS: tuple[AggregationName, ...] = tuple(_AGGREGATIONS)


def readouts_for(how: Aggregation) -> tuple[str, ...]:
    """Return the verifier read-outs of an aggregation: ``model`` takes that of the verifier, ``whole``."""
    return ("whole",) if how == "model" else ("per_step", "whole")


def aggregate(rewards: Sequence[Reward], how: Aggregation) -> Reward:
    """Return one reward for a trajectory; the mean and product are of step values in [0, 1].

    ``model`` is for verifiers with the read-out ``whole``. Raises ValueError when there are none.
    """
    if not rewards:
        raise ValueError("no rewards to aggregate")
    aggregator = _AGGREGATIONS[how] if isinstance(how, str) else how
    return Reward(aggregator([r.log_odds for r in rewards]))


def log_odds_of(trajectory: Trajectory, how: Aggregation) -> float:
    """Return the aggregated reward as log-odds; -inf where no step is scored, so that it ranks last."""
    rewards = trajectory.rewards
    return aggregate(rewards, how).log_odds if rewards else -math.inf


def reward_of(answer: Trajectory, how: Aggregation) -> Reward:
    """Return the aggregated reward of an answer; 0 for a text without an end, which is none."""
    return Reward(log_odds_of(answer, how) if answer.finished else -math.inf)


def _checked(log_weights: npt.ArrayLike) -> Weights:
    lw = np.asarray(log_weights, dtype=np.float64)
    if lw.size == 0 or math.isnan(lw.max()):  # the greatest of numbers with a NaN is NaN
        raise ValueError(f"log-weights must be numbers, and one at least: {lw}")
    return lw
