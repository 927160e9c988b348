"""Saturation curves: their closed forms, and fits that recover what made the counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.saturation import (
    MAX_SAMPLES,
    BetaChances,
    Curve,
    OneChance,
    saturation_point,
)
from orchestrator.allocation.saturation_fits import (
    fit_beta,
    fit_beta_curve,
    fit_inflated_beta,
    fit_one_chance,
    histogram,
)
from orchestrator.allocation.saturation_study import BETA, INFLATED, TTSPM, Samples, study
from orchestrator.allocation.subsets import Floats, pass_at

PILOT, EPSILON = 8, 0.005
CURVES = st.one_of(
    st.builds(OneChance, top=st.floats(0.05, 1.0), chance=st.floats(0.01, 0.9)),
    st.builds(BetaChances, a=st.floats(0.05, 20), b=st.floats(0.05, 20), top=st.floats(0.05, 1.0)),
)


@given(CURVES)
def test_a_curve_rises_and_its_gain_is_its_difference(curve: Curve) -> None:
    values = curve.at(range(65))
    assert values[0] == pytest.approx(0.0, abs=1e-12)
    assert np.all(np.diff(values) >= -1e-12)
    assert [curve.gain(n) for n in range(64)] == pytest.approx(np.diff(values), abs=1e-9)


@given(CURVES, st.floats(1e-4, 0.2), st.floats(1e-4, 0.2))
def test_a_greater_epsilon_stops_no_later(curve: Curve, one: float, other: float) -> None:
    less, more = sorted((one, other))
    stop = saturation_point(curve, less)
    assert saturation_point(curve, more) <= stop
    assert curve.gain(stop) < less or stop == MAX_SAMPLES
    assert stop == 0 or curve.gain(stop - 1) >= less


@given(st.floats(0.05, 1.0), st.floats(0.01, 0.9), st.floats(1e-4, 0.04))
def test_the_published_formula(top: float, chance: float, epsilon: float) -> None:
    exact = math.log(epsilon / (top * chance)) / math.log(1 - chance)
    if abs(exact - round(exact)) > 1e-6:  # at an integer rounding decides
        assert saturation_point(OneChance(top, chance), epsilon) == max(0, math.ceil(exact))


def test_beta_is_the_inflated_one_with_a_ceiling_of_1() -> None:
    np.testing.assert_array_equal(
        BetaChances(0.7, 1.3, 1.0).at(range(65)), BetaChances(0.7, 1.3).at(range(65))
    )


@pytest.mark.parametrize("size", [1e5, 1e9, 1e13])
def test_a_narrow_beta_is_the_curve_of_one_chance(size: float) -> None:
    narrow, one = BetaChances(0.3 * size, 0.7 * size), OneChance(1.0, 0.3)
    np.testing.assert_allclose(narrow.at(range(65)), one.at(range(65)), atol=10 / size + 1e-12)


def right_counts(chances: Floats, rng: np.random.Generator) -> Floats:
    return histogram(rng.binomial(PILOT, chances), PILOT)


def standard_errors(hist: Floats, fit: Callable[[Floats], Floats], rng: np.random.Generator) -> Floats:
    """Of a fit's parameters, by redrawing the problems."""
    shares = hist / hist.sum()
    return np.asarray([fit(rng.multinomial(int(hist.sum()), shares).astype(float)) for _ in range(40)]).std(
        axis=0
    )


def test_counts_of_a_beta_give_it_back() -> None:
    rng = np.random.default_rng(5)
    made = BetaChances(0.8, 1.6)
    hist = right_counts(rng.beta(made.a, made.b, 20_000), rng)

    def parameters(counts: Floats) -> Floats:
        fit = fit_beta(counts)
        return np.asarray([fit.a, fit.b])

    errors = standard_errors(hist, parameters, rng)
    assert np.all(np.abs(parameters(hist) - [made.a, made.b]) < 3 * errors)
    assert abs(saturation_point(fit_beta(hist), EPSILON) - saturation_point(made, EPSILON)) <= 1


def test_counts_of_an_inflated_beta_give_it_back() -> None:
    rng = np.random.default_rng(6)
    made = BetaChances(2.0, 3.0, 0.8)
    chances = rng.beta(made.a, made.b, 20_000) * (rng.random(20_000) < made.top)
    hist = right_counts(chances, rng)

    def parameters(counts: Floats) -> Floats:
        fit = fit_inflated_beta(counts)
        return np.asarray([fit.a, fit.b, fit.top])

    errors = standard_errors(hist, parameters, rng)
    assert np.all(np.abs(parameters(hist) - [made.a, made.b, made.top]) < 3 * errors)
    assert abs(saturation_point(fit_inflated_beta(hist), EPSILON) - saturation_point(made, EPSILON)) <= 1


def test_counts_of_one_chance_give_it_back() -> None:
    rng = np.random.default_rng(7)
    made, num = OneChance(0.75, 0.3), 4000
    solved = rng.random(num) < made.top
    counts = rng.binomial(PILOT, made.chance * solved)
    curves = np.asarray([pass_at(np.arange(PILOT) < c, range(1, PILOT + 1)) for c in counts])
    fit = fit_one_chance(curves.mean(axis=0))
    refits = [fit_one_chance(curves[rng.integers(num, size=num)].mean(axis=0)) for _ in range(40)]
    errors = np.asarray([(f.top, f.chance) for f in refits]).std(axis=0)
    assert np.all(np.abs(np.asarray([fit.top, fit.chance]) - [made.top, made.chance]) < 3 * errors)
    assert abs(saturation_point(fit, EPSILON) - saturation_point(made, EPSILON)) <= 1


@pytest.mark.parametrize("made", [BetaChances(0.5, 0.9), BetaChances(1.5, 2.5, 0.7)])
def test_a_curve_gives_back_what_made_it(made: BetaChances) -> None:
    """The fits of best-of-k, which has no counts."""
    found = fit_beta_curve(made.at(range(1, PILOT + 1)), has_ceiling=made.top < 1)
    np.testing.assert_allclose(found.at([16, 64]), made.at([16, 64]), atol=2e-3)


def test_pilots_without_a_right_sample_or_without_a_wrong_one() -> None:
    none, every = histogram([0] * 20, PILOT), histogram([PILOT] * 20, PILOT)
    assert fit_inflated_beta(none).at(64) == pytest.approx(0.0, abs=1e-2)
    assert fit_inflated_beta(every).at(1) == pytest.approx(1.0, abs=1e-3)
    assert fit_beta(every).at(1) == pytest.approx(1.0, abs=1e-3)


def drawn_samples(num_problems: int, num_samples: int) -> Samples:
    rng = np.random.default_rng(8)
    right = [rng.random(num_samples) < p for p in rng.beta(0.8, 1.2, num_problems)]
    return Samples(
        right, [r + rng.normal(size=num_samples) for r in right], [np.where(r, 0, 1) for r in right]
    )


def test_a_study_holds_forecasts_beside_the_truth() -> None:
    found = study(drawn_samples(400, 32), PILOT, EPSILON, num_resamples=20)
    assert list(found.forecasts) == [TTSPM, BETA, INFLATED]
    assert found.ns == (1, 2, 4, 8, 16, 32, 64)
    assert [t is not None for t in found.truth] == [True] * 6 + [False]
    beta, published = found.forecasts[BETA], found.forecasts[TTSPM]
    truth, error = found.truth[5], beta.errors[5]
    assert truth is not None and error is not None and published.errors[5] is not None
    assert error.value == pytest.approx(beta.at[5].value - truth.value)
    assert abs(error.value) < 0.05
    assert published.errors[5].value < -0.1  # one chance for all problems flattens too early
    assert found.saturates_at is not None
    assert abs(beta.saturates_at.value - found.saturates_at.value) <= 4


@pytest.mark.parametrize("measure", ["best", "majority"])
def test_the_other_measures_are_fitted_as_curves(measure: str) -> None:
    found = study(drawn_samples(60, 16), PILOT, EPSILON, measure, num_resamples=5)  # type: ignore[arg-type]
    assert all(0 <= f.at[-1].value <= 1 for f in found.forecasts.values())


def test_a_pilot_that_no_problem_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no problem has 9 samples"):
        study(drawn_samples(3, 8), 9, EPSILON)
