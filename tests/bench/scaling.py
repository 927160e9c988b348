"""How many times fewer samples a method needs than another: curves, interpolated between measured budgets.

A curve is an accuracy for each cost, smoothed to the closest one that never falls (isotonic regression), and
read between its points along a straight line in the logarithm of the cost. Intervals are bootstrapped over
problems, the same problems for both curves, so that what is easy for both cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NUM_RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def isotonic(values: npt.ArrayLike) -> Floats:
    """Return the non-decreasing values closest to ``values`` ``[..., K]`` in squares, equally weighted.

    By the min-max formula (Robertson, Wright, Dykstra 1988, theorem 1.4.4): the greatest over j <= i of the
    least over k >= i of the mean of j..k.
    """
    y = np.asarray(values, dtype=float)
    num = y.shape[-1]
    sums = np.concatenate([np.zeros((*y.shape[:-1], 1)), np.cumsum(y, axis=-1)], axis=-1)
    means = np.full((*y.shape[:-1], num, num), np.inf)
    for j in range(num):
        means[..., j, j:] = (sums[..., j + 1 :] - sums[..., j : j + 1]) / np.arange(1, num - j + 1)
    least = np.minimum.accumulate(means[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray(np.stack([least[..., : i + 1, i].max(axis=-1) for i in range(num)], axis=-1))


def needed(costs: npt.ArrayLike, curve: npt.ArrayLike, goal: npt.ArrayLike) -> Floats:
    """Return the least cost at which ``curve`` ``[..., K]`` is as high as ``goal`` ``[...]``.

    The least measured cost where the first point is as high already; inf where no point is. ``costs`` rise,
    and the curve does not fall.
    """
    x, y, aim = np.log(np.asarray(costs, dtype=float)), np.asarray(curve, float), np.asarray(goal, float)
    reached = y >= aim[..., None] - 1e-12
    right = np.clip(np.argmax(reached, axis=-1), 1, None)
    low, high = (np.take_along_axis(y, i[..., None], -1)[..., 0] for i in (right - 1, right))
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(high > low, np.clip((aim - low) / (high - low), 0.0, 1.0), 0.0)
    between = np.exp(x[right - 1] + part * (x[right] - x[right - 1]))
    found = np.where(reached[..., 0], np.exp(x[0]), np.where(reached.any(axis=-1), between, np.inf))
    return np.asarray(found, dtype=np.float64)


@lru_cache(maxsize=8)  # the tables of a page ask for the same ones hundreds of times
def resamples(num_problems: int, num: int = NUM_RESAMPLES, seed: int = 0) -> Floats:
    """Return the shares ``[1 + num, problems]``: of all problems first, then of each bootstrap sample."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num_problems, [1 / num_problems] * num_problems, size=num)
    shares: Floats = np.concatenate([np.ones((1, num_problems)), counts]) / num_problems
    shares.flags.writeable = False
    return shares


def estimate(samples: Floats) -> Estimate:
    """Return the first of ``samples`` with the 2.5 and 97.5 percentiles of the others, to nine decimals."""
    low, high = np.quantile(samples[1:], [0.025, 0.975], method="inverted_cdf")
    return Estimate(*(round(float(x), 9) for x in (samples[0], low, high)))


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured of a method: its costs ``[K]``, rising, and right answers ``[problems, K]``."""

    costs: Floats
    right: Floats


def make_curve(costs: npt.ArrayLike, right: npt.ArrayLike) -> Curve:
    """Return a curve with its points in the order of their costs."""
    x, y = np.asarray(costs, dtype=float), np.asarray(right, dtype=float)
    order = np.argsort(x, kind="stable")
    return Curve(x[order], y[:, order])


def times_fewer(method: Curve, reference: Curve, shares: Floats) -> list[Estimate]:
    """Return for each point of ``reference`` its cost over the cost at which ``method`` is as accurate.

    0 where ``method`` is not that accurate at any measured cost.
    """
    goals = isotonic(shares @ reference.right)
    ours = isotonic(shares @ method.right)
    return [
        estimate(cost / needed(method.costs, ours, goals[:, i])) for i, cost in enumerate(reference.costs)
    ]
