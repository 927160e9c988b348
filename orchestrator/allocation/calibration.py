"""Monotone maps of a verifier's log-odds, so that a reward of .8 means: right in 80 % of the cases.

    isotonic      P(right) of pool-adjacent-violators on pairs (reward, right)
    temperature   scale * log-odds + shift, by logistic regression
    quantile      the share of the policy's samples with a lower reward, ties at one half; it needs no labels

InfAlign (https://arxiv.org/abs/2412.19792) calibrates by quantiles and tilts by exp(t C): t = 0 counts each
sample once, t to infinity takes the best. Every map here is strictly increasing in [-50, 50]: the order of
the samples stays, so best-of-N and beams choose as before; weighted votes, thresholds and particle weights
change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MapName = Literal["isotonic", "temperature", "quantile"]
MAPS: tuple[MapName, ...] = get_args(MapName)
At = Literal["last", "each"]
ATS: tuple[At, ...] = get_args(At)

END = 50.0
"""Log-odds beyond this count as this: the value is 0 or 1 in double precision well before."""
_RISE = 1e-4  # in log-odds, between the edges of a level piece and beyond the outermost knots
_MAX_KNOTS = 200
_RIDGE = 1e-6  # pairs that a threshold separates have no greatest likelihood
_LEAST_SCALE = 1e-3
_LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Map:
    """A piecewise linear map of log-odds: ``values`` at rising ``knots``, from -50 to 50."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, log_odds: npt.ArrayLike) -> Floats:
        """Return the calibrated log-odds."""
        return np.asarray(np.interp(clipped(log_odds), self.knots, self.values))


def clipped(log_odds: npt.ArrayLike) -> Floats:
    """Return log-odds within [-50, 50]."""
    return np.clip(np.asarray(log_odds, dtype=float), -END, END)


def sigmoid(log_odds: npt.ArrayLike) -> Floats:
    """Return the values of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-clipped(log_odds))))


def pooled(right: npt.ArrayLike, weights: npt.ArrayLike) -> list[tuple[float, float]]:
    """Return blocks (mean, weight) of rising means: the least-squares fit (pool adjacent violators)."""
    blocks: list[tuple[float, float]] = []
    for value, weight in zip(np.asarray(right, dtype=float), np.asarray(weights, dtype=float), strict=True):
        mean, mass = float(value), float(weight)
        while blocks and blocks[-1][0] >= mean:
            before, more = blocks.pop()
            mean, mass = (before * more + mean * mass) / (more + mass), more + mass
        blocks.append((mean, mass))
    return blocks


def isotonic(log_odds: npt.ArrayLike, right: npt.ArrayLike) -> Map:
    """Return the map to P(right) that rises and has the least Brier score on these pairs.

    A block without a right pair has a probability of 1 / (2 n + 2) instead of 0, and one without a wrong pair
    as much less than 1, with n the number of all pairs. A block is nearly level: it rises by 1e-4.
    """
    rewards, group = np.unique(clipped(log_odds), return_inverse=True)
    counts = np.bincount(group).astype(float)
    means = np.bincount(group, weights=np.asarray(right, dtype=float)) / counts
    floor = 1.0 / (2.0 * counts.sum() + 2.0)
    knots: list[float] = []
    values: list[float] = []
    done, mass = 0, np.cumsum(counts)
    for mean, weight in pooled(means, counts):
        first = done
        done = int(np.searchsorted(mass, (mass[first - 1] if first else 0.0) + weight - 0.5)) + 1
        level = _logit(min(max(mean, floor), 1.0 - floor))
        edges = dict.fromkeys((float(rewards[first]), float(rewards[done - 1])))
        knots += edges
        values += [level] if len(edges) == 1 else [level - _RISE / 2, level + _RISE / 2]
    return _with_ends(knots, values)


def temperature(log_odds: npt.ArrayLike, right: npt.ArrayLike) -> Map:
    """Return scale * log-odds + shift of the greatest likelihood, by Newton's method.

    Raises ValueError where a greater reward does not make a right answer more probable.
    """
    x, y = clipped(log_odds), np.asarray(right, dtype=float)
    design = np.stack([x, np.ones_like(x)], axis=1)

    def loss(theta: Floats) -> float:
        z = design @ theta
        return float((np.logaddexp(0.0, z) - y * z).sum() + _RIDGE / 2 * theta @ theta)

    theta = np.zeros(2)
    for _ in range(100):
        p = sigmoid(design @ theta)
        gradient = design.T @ (y - p) - _RIDGE * theta
        curvature = (design * (p * (1 - p))[:, None]).T @ design + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(theta + step) > loss(theta) and np.abs(step).max() > 1e-12:
            step = step / 2
        theta = theta + step
        if np.abs(step).max() < 1e-10:
            break
    if theta[0] < _LEAST_SCALE:
        raise ValueError("a greater reward does not make a right answer more probable: no map rises")
    return Map((-END, END), (float(-END * theta[0] + theta[1]), float(END * theta[0] + theta[1])))


def quantile(log_odds: npt.ArrayLike) -> Map:
    """Return the map to the share of these rewards that are lower, ties at one half, as log-odds.

    At most 200 knots, at rewards of evenly spaced ranks.
    """
    rewards, counts = np.unique(clipped(log_odds), return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / counts.sum()
    if len(rewards) > _MAX_KNOTS:
        rows = np.unique(np.linspace(0, len(rewards) - 1, _MAX_KNOTS).round().astype(int))
        rewards, shares = rewards[rows], shares[rows]
    return _with_ends(rewards.tolist(), [_logit(s) for s in shares])


def quantiles(rewards: npt.ArrayLike) -> Floats:
    """Return C of each of K samples among them: the share that is lower, and half of the share that is equal.

    C_i = (1/K) sum_k 1[r_k < r_i] + (1/2K) sum_k 1[r_k = r_i], uniform for samples of the policy.
    """
    r = np.asarray(rewards, dtype=float)
    order = np.sort(r)
    below, upto = np.searchsorted(order, r, "left"), np.searchsorted(order, r, "right")
    return np.asarray((below + upto) / (2.0 * len(r)))


def _logit(share: float) -> float:
    return math.log(share) - math.log1p(-share)


def _with_ends(knots: Sequence[float], values: Sequence[float]) -> Map:
    """Return the map with knots at both ends, so that it rises outside what was seen too."""
    first = [] if knots[0] <= -END else [(-END, values[0] - _RISE * (knots[0] + END))]
    last = [] if knots[-1] >= END else [(END, values[-1] + _RISE * (END - knots[-1]))]
    pairs = [*first, *zip(knots, values, strict=True), *last]
    return Map(tuple(k for k, _ in pairs), tuple(v for _, v in pairs))


def fit(name: MapName, log_odds: npt.ArrayLike, right: npt.ArrayLike) -> Map:
    """Return a map by its name. Raises ValueError where there is none."""
    if name == "isotonic":
        return isotonic(log_odds, right)
    return temperature(log_odds, right) if name == "temperature" else quantile(log_odds)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The maps of a verifier's rewards: one for all steps, or one a step (the last for all that follow)."""

    maps: tuple[Map, ...]

    def of_step(self, index: int) -> Map:
        """Return the map of a step, counted from 0."""
        return self.maps[min(index, len(self.maps) - 1)]


def fit_steps(name: MapName, at: At, steps: Sequence[Sequence[float]], right: Sequence[bool]) -> Calibration:
    """Return a calibration from the log-odds of each sample's steps and whether the sample is right.

    Raises ValueError where there is no rising map.
    """
    scored = [(s, r) for s, r in zip(steps, right, strict=True) if s]
    if at == "last":
        return Calibration((fit(name, [s[-1] for s, _ in scored], [r for _, r in scored]),))
    columns = [[(s[i], r) for s, r in scored if len(s) > i] for i in range(max(len(s) for s, _ in scored))]
    # The last steps of a few long solutions are too few for a map.
    columns = [each for each in columns if len(each) >= len(scored) * _LEAST_SHARE]
    return Calibration(tuple(fit(name, [x for x, _ in each], [r for _, r in each]) for each in columns))
