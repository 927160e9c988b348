"""Planted slopes are found; separation is bounded; the end is where the sum's slope is 0."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.allocation.logistic import logistic


def planted(slopes: list[float], intercept: float, num: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num, len(slopes)))
    return x, rng.random(num) < 1 / (1 + np.exp(-(x @ slopes + intercept)))


def test_planted_slopes_are_found() -> None:
    x, right = planted([1.5, -0.7, 0.0], 0.4, 20_000)
    slopes, intercept = logistic(x, right)
    assert slopes == pytest.approx([1.5, -0.7, 0.0], abs=0.08)
    assert intercept == pytest.approx(0.4, abs=0.08)


def test_the_end_is_the_greatest() -> None:
    """The slope of the penalised sum is 0 there, also for features of very different scales."""
    x, right = planted([2.0, -1.0], 0.0, 200)
    x = x * [1, 300]
    slopes, intercept = logistic(x, right, ridge=0.5)
    left = right - 1 / (1 + np.exp(-(x @ slopes + intercept)))
    assert x.T @ left - 0.5 * slopes == pytest.approx([0, 0], abs=1e-5)
    assert left.sum() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_a_feature_that_separates_has_a_bounded_slope(ridge: float) -> None:
    """With x = -1, 1 and both outcomes: the root of 2 / (1 + exp(w)) = ridge w."""
    slopes, intercept = logistic(np.array([[-1.0], [1.0]]), [0, 1], ridge)
    assert 2 / (1 + np.exp(slopes[0])) == pytest.approx(ridge * slopes[0])
    assert intercept == pytest.approx(0.0, abs=1e-9)


def test_all_right_is_refused() -> None:
    with pytest.raises(ValueError, match="needs right and wrong"):
        logistic(np.zeros((2, 1)), [1, 1])
