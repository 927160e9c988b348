"""What k of M samples would have answered, averaged over all subsets of k: exact where a closed form exists.

With m of M samples "low", a random k-subset has low ones alone with probability

    C(m, k) / C(M, k).

From that follow pass@k (low: wrong), the worst of k (low: right), and the best of k by reward: the greatest
reward of the subset is at most x with this probability for m = #{i : r_i <= x}. Samples of equal reward are
equally likely to be chosen. A vote and a draw by weight have no such form: they are averaged over the first
k entries of fixed random orders, the same ones for every problem, k and temperature.

Shapes: M samples of a problem, K sizes, R orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

NUM_ORDERS = 200
NO_ANSWER = -1
"""The key of a sample whose answer cannot be read: it does not vote."""
_FINITE = 1e6  # log-odds; infinities would make NaN of equal ones


@cache
def _shares(num_samples: int) -> Floats:
    """Return ``[k, m]`` = C(m, k) / C(M, k) for k and m in 0..M."""
    m = np.arange(num_samples + 1, dtype=float)
    table = np.ones((num_samples + 1, num_samples + 1))
    for k in range(1, num_samples + 1):
        table[k] = table[k - 1] * np.maximum(m - k + 1, 0.0) / (num_samples - k + 1)
    return table


def all_low(num_samples: int, num_low: int, ks: Sequence[int]) -> Floats:
    """Return ``[K]``: the chance that a random k-subset has only low samples. Raises ValueError for k > M."""
    _check(num_samples, ks)
    return _shares(num_samples)[list(ks), num_low]


def pass_at(right: Bools, ks: Sequence[int]) -> Floats:
    """Return ``[K]``: the chance that a k-subset has a right sample."""
    return 1.0 - all_low(len(right), int(np.sum(~right)), ks)


def worst_of(right: Bools, ks: Sequence[int]) -> Floats:
    """Return ``[K]``: the chance that every sample of a k-subset is right."""
    return all_low(len(right), int(np.sum(right)), ks)


def best_of(log_odds: Floats, right: Bools, ks: Sequence[int]) -> Floats:
    """Return ``[K]``: the chance that the sample of the greatest reward in a k-subset is right."""
    _check(len(right), ks)
    shares = _shares(len(right))[list(ks)]
    values, group = np.unique(log_odds, return_inverse=True)
    sizes = np.bincount(group, minlength=len(values))
    is_right = np.bincount(group, weights=right, minlength=len(values)) / sizes
    upto = np.cumsum(sizes)
    return np.asarray((shares[:, upto] - shares[:, upto - sizes]) @ is_right)


@cache
def orders(num_samples: int) -> Ints:
    """Return ``[R, M]``: fixed random orders of the samples."""
    rng = np.random.default_rng(num_samples)
    return rng.permuted(np.tile(np.arange(num_samples), (NUM_ORDERS, 1)), axis=1)


def majority_of(keys: Ints, right: Bools, ks: Sequence[int]) -> Floats:
    """Return ``[K]``: the chance that a k-subset's most frequent answer is right; tied answers share it.

    ``keys`` are equal for equal answers, from 0; ``NO_ANSWER`` does not vote.
    """
    _check(len(right), ks)
    names = np.unique(keys[keys != NO_ANSWER])
    if not len(names):
        return np.zeros(len(ks))
    votes = keys[:, None] == names
    is_right = np.asarray([bool(right[keys == name].any()) for name in names])
    counts = np.cumsum(votes[orders(len(right))], axis=1)[:, [k - 1 for k in ks]]
    most = counts.max(axis=2, keepdims=True)
    leads = (counts == most) & (most > 0)
    return np.asarray(((leads & is_right).sum(axis=2) / np.maximum(leads.sum(axis=2), 1)).mean(axis=0))


def drawn_of(log_odds: Floats, right: Bools, k: int, temperature: float) -> float:
    """Return the chance that one of a k-subset, drawn by softmax(log-odds / temperature), is right.

    Temperature 0 is ``best_of``, in closed form; infinity the mean of the samples.
    """
    if temperature == 0:
        return float(best_of(log_odds, right, [k])[0])
    if math.isinf(temperature) or k == 1:
        return float(right.mean())
    _check(len(right), [k])
    rows = orders(len(right))[:, :k]
    scaled = np.clip(log_odds, -_FINITE, _FINITE)[rows] / temperature
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return float(((weights * right[rows]).sum(axis=1) / weights.sum(axis=1)).mean())


def _check(num_samples: int, ks: Sequence[int]) -> None:
    if any(not 1 <= k <= num_samples for k in ks):
        raise ValueError(f"k must be 1..{num_samples}, the number of samples; got {list(ks)}")
