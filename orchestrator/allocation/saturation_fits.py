"""Fits of saturation curves to a pilot of n samples a problem.

Counts of right samples are fitted by maximum likelihood of c_q ~ BetaBinomial(n, a, b), with an atom at 0 for
problems that are never solved. A curve F(1..n), such as that of best-of-k, is fitted by least squares. Both
search a grid in the log-odds of the mean a / (a + b) and the log of a + b, which are nearly independent, and
zoom in on its best cell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.saturation import BetaChances, OneChance

Floats = npt.NDArray[np.float64]
Loss = Callable[[Floats, Floats], Floats]  # a and b, of one shape, to what is to be least

_GRID = 17
_NUM_ZOOMS = 9
_ZOOM = 0.4  # of the range that a zoom keeps: wide enough that a wrong cell can be left again
_MEANS, _SIZES = (-9.0, 9.0), (-5.0, 12.0)  # log-odds of a / (a + b), log of a + b


def histogram(counts: npt.ArrayLike, num_samples: int) -> Floats:
    """Return ``[n + 1]``: how many problems have c right samples of n."""
    return np.bincount(np.asarray(counts, dtype=np.int64), minlength=num_samples + 1).astype(float)


def fit_beta(hist: Floats) -> BetaChances:
    """Return the Beta of the greatest likelihood; ``hist[c]`` problems have c right samples of n."""
    a, b = _least(lambda a, b: -(_log_chances(a, b, len(hist) - 1) @ hist))
    return BetaChances(a, b)


def fit_inflated_beta(hist: Floats) -> BetaChances:
    """Return the zero-inflated Beta of the greatest likelihood.

    Of the problems a share s has a right sample. For given a and b the likelihood is greatest where
    F = s / (1 - BB(0)), at most 1: the share that the model expects is then the one that was seen.
    """
    n, num_problems = len(hist) - 1, hist.sum()
    seen = 1.0 - hist[0] / num_problems

    def top_of(log_none: Floats) -> Floats:
        return np.asarray(np.minimum(1.0, seen / np.maximum(-np.expm1(log_none), 1e-300)))

    def loss(a: Floats, b: Floats) -> Floats:
        log_chances = _log_chances(a, b, n)
        top = top_of(log_chances[..., 0])
        with np.errstate(divide="ignore"):
            none = np.log(1.0 - top + top * np.exp(log_chances[..., 0]))
            some = np.where(seen > 0, np.log(np.maximum(top, 1e-300)), 0.0) * (num_problems - hist[0])
        log_likelihood = log_chances[..., 1:] @ hist[1:] + some + hist[0] * np.maximum(none, -1e300)
        return np.asarray(-log_likelihood)

    a, b = _least(loss)
    return BetaChances(a, b, float(top_of(_log_chances(np.asarray(a), np.asarray(b), n)[..., 0])))


def _log_chances(a: Floats, b: Floats, n: int) -> Floats:
    """Return ``[..., n + 1]``: log of B(a + c, b + n - c) / B(a, b), the chance of one order of c right ones.

    Written as sums of logs of rising factorials, which need no lgamma and are exact for a large a and b.
    """
    steps = np.arange(n)
    rise_a, rise_b = (_rises(np.log(x[..., None] + steps)) for x in (a, b))
    return np.asarray(rise_a + rise_b[..., ::-1] - _rises(np.log((a + b)[..., None] + steps))[..., -1:])


def _rises(logs: Floats) -> Floats:
    return np.concatenate([np.zeros((*logs.shape[:-1], 1)), np.cumsum(logs, axis=-1)], axis=-1)


def fit_one_chance(curve: Floats) -> OneChance:
    """Return TTSPM by least squares on F(1..n): the published fit."""
    n = np.arange(1, len(curve) + 1)
    low, high = -14.0, 14.0
    for _ in range(_NUM_ZOOMS):
        odds = np.linspace(low, high, 201)
        shapes = 1.0 - (1.0 - 1.0 / (1.0 + np.exp(-odds)))[:, None] ** n
        tops = _tops(shapes, curve)
        best = int(np.argmin(np.square(tops[:, None] * shapes - curve).sum(axis=1)))
        half = (high - low) * 0.1
        low, high = odds[best] - half, odds[best] + half
    return OneChance(float(tops[best]), float(1.0 / (1.0 + np.exp(-odds[best]))))


def fit_beta_curve(curve: Floats, *, has_ceiling: bool) -> BetaChances:
    """Return the Beta, or with a ceiling the zero-inflated one, by least squares on F(1..n)."""
    n = len(curve)

    def shapes_of(a: Floats, b: Floats) -> Floats:
        logs = np.log(b[..., None] + np.arange(n)) - np.log((a + b)[..., None] + np.arange(n))
        return np.asarray(-np.expm1(np.cumsum(logs, axis=-1)))

    def loss(a: Floats, b: Floats) -> Floats:
        shapes = shapes_of(a, b)
        tops = _tops(shapes, curve) if has_ceiling else np.ones(a.shape)
        return np.asarray(np.square(tops[..., None] * shapes - curve).sum(axis=-1))

    a, b = _least(loss)
    shape = shapes_of(np.asarray(a), np.asarray(b))
    return BetaChances(a, b, float(_tops(shape, curve)) if has_ceiling else 1.0)


def _tops(shapes: Floats, curve: Floats) -> Floats:
    """Return the ceiling in [0, 1] that fits best for each shape."""
    tops = (shapes @ curve) / np.maximum(np.square(shapes).sum(axis=-1), 1e-300)
    return np.asarray(np.clip(tops, 0.0, 1.0))


def _least(loss: Loss) -> tuple[float, float]:
    """Return the a and b of the least loss."""
    (low_m, high_m), (low_s, high_s) = _MEANS, _SIZES
    for _ in range(_NUM_ZOOMS):
        means, sizes = np.meshgrid(
            np.linspace(low_m, high_m, _GRID), np.linspace(low_s, high_s, _GRID), indexing="ij"
        )
        a, b = np.exp(sizes) / (1.0 + np.exp(-means)), np.exp(sizes) / (1.0 + np.exp(means))
        best = np.unravel_index(int(np.argmin(loss(a, b))), a.shape)
        half_m, half_s = (high_m - low_m) * _ZOOM / 2, (high_s - low_s) * _ZOOM / 2
        low_m, high_m = means[best] - half_m, means[best] + half_m
        low_s, high_s = (
            max(sizes[best] - half_s, _SIZES[0]),
            min(sizes[best] + half_s, _SIZES[1]),
        )
    return float(a[best]), float(b[best])
