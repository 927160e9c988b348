"""Laws as reusable assertions: stated once, held against every implementation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.testing import assert_prefers_finished, assert_sound
from strategies.parts.resampling import Indices, Resampler
from strategies.parts.weights import Weights

__all__ = ["assert_prefers_finished", "assert_sound"]  # what is shipped


def assert_mean(samples: Sequence[float], expected: float, *, bias: float = 0.03, z: float = 4.0) -> None:
    """The mean lies within ``z`` standard errors of what was expected, which are at most ``bias`` of it.

    So a bias of twice that share is seen with near certainty, and one of ``bias`` in every other draw.
    """
    mean, error = float(np.mean(samples)), float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    assert z * error <= bias * abs(expected), f"standard error {error} cannot tell {mean} from {expected}"
    assert abs(mean - expected) <= z * error + 1e-12, f"mean {mean} +- {error}, expected {expected}"


def hold_mean(draw: Callable[[], float], expected: float, *, bias: float = 0.03, most: int = 10_000) -> None:
    """As ``assert_mean``, with as many draws as that takes: 400 at a time, ``most`` of them in all."""
    samples: list[float] = []
    while len(samples) < most:
        samples += [draw() for _ in range(400)]
        if 4 * np.std(samples, ddof=1) / math.sqrt(len(samples)) <= bias * abs(expected):
            break
    assert_mean(samples, expected, bias=bias)


def total_variation(a: Mapping[Any, float], b: Mapping[Any, float]) -> float:
    """Half the sum of absolute differences of two distributions."""
    return 0.5 * sum(abs(a.get(k, 0.0) - b.get(k, 0.0)) for k in a.keys() | b.keys())


def chi_square_excess(counts: Mapping[Any, float], expected: Mapping[Any, float]) -> float:
    """How many standard deviations Pearson's statistic lies above its mean; near 0 where the law holds."""
    total = sum(counts.values())
    assert counts.keys() <= expected.keys(), f"impossible outcomes: {counts.keys() - expected.keys()}"
    cells = {k: p * total for k, p in expected.items() if p > 0}
    statistic = sum((counts.get(k, 0.0) - e) ** 2 / e for k, e in cells.items())
    freedom = len(cells) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def assert_resamples(resampler: Resampler, rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """n indices in range, none of weight zero; the same for the same generator state."""
    state = rng.bit_generator.state
    indices = resampler(rng, weights, n)
    assert indices.shape == (n,)
    assert indices.dtype == np.int64
    assert ((indices >= 0) & (indices < len(weights))).all()
    assert (weights[indices] > 0).all()
    rng.bit_generator.state = state
    assert (resampler(rng, weights, n) == indices).all()
    return indices
