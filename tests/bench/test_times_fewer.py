"""Ratios of samples against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.scaling import Curve, estimate, isotonic, make_curve, needed, resamples, times_fewer

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("values", "closest"),
    [
        ([0.1, 0.4, 0.9], [0.1, 0.4, 0.9]),
        ([0.4, 0.2], [0.3, 0.3]),
        ([0.9, 0.1, 0.2], [0.4, 0.4, 0.4]),
        ([0.1, 0.5, 0.3, 0.8], [0.1, 0.4, 0.4, 0.8]),
    ],
)
def test_the_closest_curve_that_never_falls(values: list[float], closest: list[float]) -> None:
    assert isotonic(values) == pytest.approx(closest)
    assert isotonic([values, values[::-1]])[0] == pytest.approx(closest)


@given(VALUES)
def test_isotonic_is_that_of_pooling(values: list[float]) -> None:
    """Pool adjacent violators, written out: blocks that fall are joined in their mean."""
    blocks: list[list[float]] = []
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    pooled = [float(np.mean(block)) for block in blocks for _ in block]
    assert isotonic(values) == pytest.approx(pooled, abs=1e-9)


def test_between_two_budgets_a_curve_is_straight_in_the_logarithm() -> None:
    curve = [0.2, 0.4, 0.4, 0.8]
    goals = [0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.81]
    costs = needed([1, 4, 8, 32], [curve] * len(goals), goals)
    assert costs == pytest.approx([1, 1, 2, 4, 16, 32, math.inf])


def curve_of(scale: float, num_problems: int = 400) -> Curve:
    """Problem i is solved from N = 2^(12 i / problems) / scale on: accuracy log2(scale N) / 12."""
    budgets = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
    from_ = 2.0 ** (12 * (np.arange(num_problems) + 0.5) / num_problems)
    return make_curve(budgets, scale * budgets >= from_[:, None])


@pytest.mark.parametrize("ratio", [1.0, 1.6, 3.2])
def test_a_ratio_that_no_power_of_two_can_show(ratio: float) -> None:
    """Both curves are straight in the logarithm, so the answer is known at every budget in reach."""
    found = times_fewer(curve_of(8 * ratio), curve_of(8), resamples(400, 500))
    for budget, e in zip([4, 6, 8, 12, 16], found[3:8], strict=True):
        assert e.value == pytest.approx(ratio, rel=0.04), budget
        assert e.low <= e.value <= e.high


def test_an_interval_covers_as_often_as_it_says() -> None:
    """Two noisy curves of a known ratio 2, drawn 60 times: nine in ten of the 95 % intervals hold it."""
    rng, budgets = np.random.default_rng(0), np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
    chance = np.log2(2 * budgets) / 8
    shares, covered = resamples(200, 150), 0
    for _ in range(60):
        slow = rng.random((200, 10)) < chance
        fast = rng.random((200, 10)) < np.log2(4 * budgets) / 8
        e = times_fewer(make_curve(budgets, fast), make_curve(budgets, slow), shares)[7]
        covered += e.low <= 2 <= e.high
    assert covered >= 0.88 * 60


def test_what_is_never_reached_is_zero_times_fewer() -> None:
    costs, goal = np.array([1, 2]), make_curve([1, 2], [[1, 1], [0, 1]])
    never = make_curve(costs, [[0, 0], [0, 1]])
    assert [e.value for e in times_fewer(never, goal, resamples(2, 50))] == [0.5, 0.0]


def test_costs_that_do_not_rise_with_the_budget_are_put_in_order() -> None:
    curve = make_curve([30, 10, 20], [[3, 1, 2]])
    assert (curve.costs.tolist(), curve.right.tolist()) == ([10, 20, 30], [[1, 2, 3]])


def test_an_interval_is_that_of_the_mean() -> None:
    """400 problems, half of them right: the standard error is .025."""
    right = np.repeat([0.0, 1.0], 200)
    e = estimate(resamples(400, 1000) @ right)
    assert e.value == pytest.approx(0.5)
    assert (e.low, e.high) == pytest.approx((0.451, 0.549), abs=0.006)
