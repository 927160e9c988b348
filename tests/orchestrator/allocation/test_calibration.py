"""Maps of rewards: the best rising fit, quantiles that are uniform, an order that stays."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.allocation.calibration import (
    END,
    MAPS,
    MapName,
    fit,
    fit_steps,
    isotonic,
    pooled,
    quantile,
    quantiles,
    sigmoid,
    temperature,
)
from orchestrator.allocation.reliability import area_under_curve, bins, by_step, held_out, quality

PAIRS = st.lists(st.tuples(st.floats(-6, 6), st.booleans()), min_size=2, max_size=40)


def best_rising(values: list[float]) -> float:
    """The least sum of squares of any rising fit, by all ways to cut the values into blocks."""
    least, n = math.inf, len(values)
    for cuts in itertools.product([False, True], repeat=n - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        means = [float(np.mean(values[a:b])) for a, b in itertools.pairwise(edges)]
        if all(a <= b for a, b in itertools.pairwise(means)):
            spread = zip(itertools.pairwise(edges), means, strict=True)
            least = min(
                least, sum(float(np.square(np.asarray(values[a:b]) - m).sum()) for (a, b), m in spread)
            )
    return least


@settings(max_examples=25)
@given(st.lists(st.floats(0, 1), min_size=8, max_size=8))
def test_pooling_is_the_best_of_all_rising_fits(values: list[float]) -> None:
    blocks = pooled(values, [1.0] * 8)
    fitted = np.repeat([mean for mean, _ in blocks], [int(w) for _, w in blocks])
    assert np.all(np.diff(fitted) >= 0)
    assert np.square(np.asarray(values) - fitted).sum() == pytest.approx(best_rising(values), abs=1e-9)


@given(PAIRS)
def test_an_isotonic_map_has_no_worse_brier_score_on_its_own_pairs(pairs: list[tuple[float, bool]]) -> None:
    log_odds, right = [x for x, _ in pairs], [r for _, r in pairs]
    after = quality(isotonic(log_odds, right)(log_odds), right).brier
    floor = 1 / (2 * len(pairs) + 2)  # where a block is all right or all wrong
    assert after <= quality(log_odds, right).brier + floor**2 + 1e-4


@pytest.mark.parametrize("name", MAPS)
@settings(max_examples=30)
@given(pairs=PAIRS)
def test_a_map_keeps_the_order(name: MapName, pairs: list[tuple[float, bool]]) -> None:
    log_odds, right = [x for x, _ in pairs], [r for _, r in pairs]
    try:
        made = fit(name, log_odds, right)
    except ValueError:
        assert name == "temperature"  # rewards that mislead
        return
    points = np.unique(np.round([*log_odds, -END, END, *np.linspace(-8, 8, 33)], 6))
    assert np.all(np.diff(made(points)) > 0)
    assert made([-math.inf, math.inf]).tolist() == made([-END, END]).tolist()


def test_pairs_of_a_known_map_give_it_back() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(0, 3, 20_000)
    right = rng.random(20_000) < sigmoid(0.5 * x - 1)
    made = temperature(x, right)
    np.testing.assert_allclose(made([0.0, 2.0]), [-1.0, 0.0], atol=0.06)
    curve = isotonic(x, right)
    np.testing.assert_allclose(
        sigmoid(curve([-4.0, 0.0, 2.0, 6.0])), sigmoid([-3.0, -1.0, 0.0, 2.0]), atol=0.05
    )


def test_rewards_that_mislead_have_no_temperature() -> None:
    with pytest.raises(ValueError, match="a greater reward does not make a right answer more probable"):
        temperature([-1.0, 0.0, 1.0, 2.0], [True, True, False, False])


def test_quantiles_of_the_policys_samples_are_uniform() -> None:
    """Kolmogorov-Smirnov: the greatest distance to the diagonal, over problems of 16 samples."""
    rng = np.random.default_rng(4)
    shares = np.sort(np.concatenate([quantiles(rng.normal(rng.normal(), 1, 16)) for _ in range(200)]))
    distance = np.abs(shares - (np.arange(len(shares)) + 0.5) / len(shares)).max()
    assert distance <= 1 / 32 + 1e-9  # the steps of 16 samples, and nothing beside them
    fresh = sigmoid(quantile(rng.normal(size=5000))(rng.normal(size=2000)))
    assert np.abs(np.sort(fresh) - (np.arange(2000) + 0.5) / 2000).max() < 1.63 / math.sqrt(2000) + 0.023


def test_ties_are_at_one_half() -> None:
    assert quantiles([1.0, 1.0, 1.0, 1.0]).tolist() == [0.5] * 4
    assert quantiles([0.0, 5.0, 5.0, 9.0]).tolist() == [0.125, 0.5, 0.5, 0.875]
    assert quantiles([-math.inf, math.inf]).tolist() == [0.25, 0.75]


def test_auc_against_all_pairs() -> None:
    rng = np.random.default_rng(9)
    values, right = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in values[right] for b in values[~right]]
    assert area_under_curve(values, right) == pytest.approx(np.mean(pairs))
    assert area_under_curve(values, [True] * 30) is None


def test_bins_and_ece_by_hand() -> None:
    values, right = [0.05, 0.05, 0.95, 1.0], [False, True, True, True]
    found = bins(values, right)
    assert [(b.num, b.share) for b in found] == [(2, 0.5), (2, 1.0)]
    log_odds = [math.log(v) - math.log1p(-v) if v < 1 else math.inf for v in values]
    assert quality(log_odds, right).ece == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)


def test_each_step_has_its_own_map() -> None:
    steps = [(0.0, 1.0), (0.0, -1.0), (1.0, 1.0), (-1.0, -1.0)] * 5
    right = [True, False, True, False] * 5
    made = fit_steps("isotonic", "each", steps, right)
    assert len(made.maps) == 2
    assert made.of_step(7) == made.of_step(1)
    assert sigmoid(made.of_step(0)(0.0)) == pytest.approx(0.5)
    assert sigmoid(made.of_step(1)(1.0)) > 0.9
    assert len(fit_steps("isotonic", "last", steps, right).maps) == 1
    qualities = by_step([steps], [np.asarray(right)])
    assert [q.num for q in qualities] == [20, 20]
    assert qualities[1].auc == 1.0


def test_held_out_maps_lower_brier_and_ece_of_a_verifier_that_is_too_sure() -> None:
    rng = np.random.default_rng(11)
    truth = rng.normal(size=(200, 8))
    right = [rng.random(8) < sigmoid(x) for x in truth]
    steps = [[(float(5 * v),) for v in x] for x in truth]
    before = quality([s[-1] for each in steps for s in each], np.concatenate(right))
    for name in ("isotonic", "temperature"):
        after = quality(*held_out(name, "last", steps, right))  # type: ignore[arg-type]
        assert after.brier < before.brier - 0.03
        assert after.ece < before.ece / 2
