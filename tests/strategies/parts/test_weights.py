"""Weights in log space, and aggregation of rewards."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import VerifierError
from orchestrator.types import Reward
from strategies.parts.weights import (
    AGGREGATIONS,
    aggregate,
    effective_sample_size,
    log_mean_exp,
    log_product,
    log_sigmoid,
    log_sum_exp,
    normalise,
    normalised_entropy,
)

INF = math.inf
log_weights = st.lists(st.floats(-800, 800) | st.just(-INF), min_size=1, max_size=20)
values = st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0.0, 0.0], [0.5, 0.5]),
        ([math.log(3), 0.0], [0.75, 0.25]),
        ([1000.0, 1000.0, -1000.0], [0.5, 0.5, 0.0]),
        ([-INF, 0.0], [0.0, 1.0]),
        ([-INF, -INF], [0.5, 0.5]),  # nothing tells them apart
        ([INF, 5.0, INF], [0.5, 0.0, 0.5]),  # a certain one takes it all
        ([-INF], [1.0]),
    ],
)
def test_normalise(given: list[float], expected: list[float]) -> None:
    assert normalise(given).tolist() == pytest.approx(expected)


@given(log_weights, st.floats(-100, 100))
def test_weights_sum_to_one_and_do_not_depend_on_the_scale(lw: list[float], shift: float) -> None:
    weights = normalise(lw)
    assert weights.sum() == pytest.approx(1)
    assert normalise([x + shift for x in lw]) == pytest.approx(weights, abs=1e-9)
    assert 1 <= effective_sample_size(weights) * (1 + 1e-12) <= len(lw) * (1 + 1e-9)
    assert 0 <= normalised_entropy(weights) <= 1


@pytest.mark.parametrize("bad", [[], [math.nan], [0.0, math.nan]])
def test_a_weight_that_is_no_number_is_an_error(bad: list[float]) -> None:
    for function in (normalise, log_sum_exp, log_mean_exp):
        with pytest.raises(ValueError, match="log-weights"):
            function(bad)


def test_log_sums() -> None:
    assert log_sum_exp([math.log(2), math.log(3)]) == pytest.approx(math.log(5))
    assert log_mean_exp([math.log(2), math.log(4)]) == pytest.approx(math.log(3))
    assert log_sum_exp([-INF, -INF]) == -INF
    assert log_mean_exp([-INF, 0.0]) == pytest.approx(-math.log(2))
    assert log_sum_exp([INF, 0.0]) == INF


def test_degeneracy() -> None:
    assert effective_sample_size(np.array([0.5, 0.5, 0.0])) == 2
    assert normalised_entropy(np.array([0.5, 0.5])) == 1  # a fair coin, with N = 2
    assert normalised_entropy(np.array([0.5, 0.5, 0.0, 0.0])) == pytest.approx(0.5)
    assert normalised_entropy(np.array([1.0, 0.0])) == 0
    assert normalised_entropy(np.array([1.0])) == 1
    assert effective_sample_size(np.array([1.0])) == 1


@given(values)
def test_aggregations_against_plain_arithmetic(vs: list[float]) -> None:
    expected = {"last": vs[-1], "min": min(vs), "prod": math.prod(vs), "mean": np.mean(vs), "model": vs[-1]}
    rewards = [Reward.from_value(v) for v in vs]
    for how in AGGREGATIONS:
        assert aggregate(rewards, how).value == pytest.approx(expected[how], rel=1e-9)


@pytest.mark.parametrize(
    ("vs", "how", "log_odds"),
    [
        ([0.0, 1.0], "last", INF),
        ([0.0, 1.0], "min", -INF),
        ([0.0, 1.0], "prod", -INF),
        ([0.0, 1.0], "mean", 0.0),
        ([1.0, 1.0], "prod", INF),
        ([1.0, 1.0], "mean", INF),
        ([0.0, 0.0], "mean", -INF),
        ([0.0, 0.0], "prod", -INF),
    ],
)
def test_aggregations_at_certainty(vs: list[float], how: str, log_odds: float) -> None:
    assert aggregate([Reward.from_value(v) for v in vs], how).log_odds == log_odds  # type: ignore[arg-type]


def test_a_product_near_one_keeps_its_digits() -> None:
    reward = aggregate([Reward(30.0), Reward(30.0)], "prod")
    assert reward.log_odds == pytest.approx(30 - math.log(2), abs=1e-6)
    assert aggregate([Reward(40.0), Reward(40.0)], "mean").log_odds == pytest.approx(40)


def test_nothing_to_aggregate_is_an_error_and_so_is_nan() -> None:
    with pytest.raises(ValueError, match="no rewards"):
        aggregate([], "min")
    with pytest.raises(VerifierError):
        Reward(math.nan)


@pytest.mark.parametrize(
    ("a", "b", "product"),
    [(1.0, 2.0, 3.0), (INF, 1.0, INF), (INF, -INF, -INF), (-INF, INF, -INF)],
)
def test_a_product_with_zero_is_zero(a: float, b: float, product: float) -> None:
    assert log_product(a, b) == product


def test_log_sigmoid() -> None:
    assert log_sigmoid(0.0) == pytest.approx(math.log(0.5))
    assert log_sigmoid(-INF) == -INF
    assert log_sigmoid(INF) == 0
    assert log_sigmoid(-1000.0) == -1000
