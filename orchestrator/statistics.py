"""Interval estimates that reports and benchmarks share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Z95 = 1.959963984540054


def wilson_interval(num_successes: int, num_trials: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson 1927); (0, 1) without trials."""
    if num_trials == 0:
        return 0.0, 1.0
    p, n, z2 = num_successes / num_trials, num_trials, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_interval(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], *, num_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean difference a - b with its 95 % interval: ``[problems][seeds]``, bootstrapped over problems.

    The problem is the unit: runs of one problem with several seeds are not independent.
    """
    difference = np.asarray(a, dtype=float).mean(axis=1) - np.asarray(b, dtype=float).mean(axis=1)
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(difference), size=(num_resamples, len(difference)))
    low, high = np.quantile(difference[rows].mean(axis=1), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Chance that k of n samples hold a right one (Chen et al. 2021, arXiv 2107.03374, equation 1)."""
    return 1.0 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)
