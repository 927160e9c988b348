"""Interval estimates and tests that reports and benchmarks share.

They are written out here, a few lines each and checked against published figures, because scipy is not a
dependency.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cache

import numpy as np

Z95 = 1.959963984540054


def wilson_interval(num_successes: int, num_trials: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927); (0, 1) without trials."""
    if num_trials == 0:
        return 0.0, 1.0
    p, n, z2 = num_successes / num_trials, num_trials, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_interval(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], *, num_resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean difference a - b with its 95 % interval, bootstrapped over problems.

    ``a`` and ``b`` are ``[problems][seeds]``.

    The problem is the unit: runs of one problem with several seeds are not independent.
    """
    difference = np.asarray(a, dtype=float).mean(axis=1) - np.asarray(b, dtype=float).mean(axis=1)
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(difference), size=(num_resamples, len(difference)))
    low, high = np.quantile(difference[rows].mean(axis=1), [0.025, 0.975])
    return float(difference.mean()), float(low), float(high)


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Return the chance that k of n samples hold a right one (Chen et al. 2021, arXiv 2107.03374, eq. 1)."""
    return 1.0 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean with its 95 % interval by Student's t; (mean, -inf, inf) for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, -math.inf, math.inf
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    half = student_quantile(len(values) - 1) * math.sqrt(variance / len(values))
    return mean, mean - half, mean + half


@cache
def student_quantile(freedom: int) -> float:
    """Return the t that Student's t exceeds in size with chance 5 %: 12.706 for 1 degree of freedom.

    It is 1.960 for many. Inverted by bisection; above 200 degrees the expansion of Abramowitz and Stegun
    26.7.5 is exact to 1e-8.
    """
    if freedom > 200:
        z, n = Z95, freedom
        terms = [z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96]
        return math.fsum(term / n**i for i, term in enumerate(terms))
    low, high = 0.0, 64.0
    for _ in range(64):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_inside(middle, freedom) < 0.95 else (low, middle)
    return high


def _student_inside(t: float, freedom: int) -> float:
    """Return the chance that Student's t lies in [-t, t] (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(angle), freedom % 2
    term = cosine if odd else 1.0
    total = 0.0
    for k in range(1 + odd, freedom, 2):
        total += term
        term *= k / (k + 1) * cosine**2
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total


def sign_test(num_wins: int, num_losses: int) -> float:
    """Return the two-sided p-value of "a win is as likely as a loss"; ties are left out.

    The exact binomial test: with one right or wrong answer a problem it is McNemar's exact test.
    """
    n, fewer = num_wins + num_losses, min(num_wins, num_losses)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << n))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by Holm's step-down method (1979); the order stays."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def difficulty_levels(pass_rates: Sequence[float], num_levels: int = 5) -> list[int]:
    """Return the level of each problem, 1 for the easiest: equal shares of the problems, by pass rate.

    Quintiles of the pass rate as in Snell et al. 2024 (arXiv 2408.03314, section 3.2). Problems of one rate
    are on one level, that of their mean rank, so levels may be of unequal size.
    """
    order = sorted(-rate for rate in pass_rates)
    middle = {rate: (bisect_left(order, rate) + bisect_right(order, rate)) / 2 for rate in order}
    return [min(num_levels, 1 + int(num_levels * middle[-rate] / len(order))) for rate in pass_rates]
