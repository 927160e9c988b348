"""Plans: a fair score of the choice, and the choice itself against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.plans import (
    Floats,
    Outcomes,
    Table,
    best_across,
    best_within,
    cross_validated,
    cut_points,
    fit_table,
    greedy,
    in_sample,
    oracle_allocation,
)
from orchestrator.allocation.response import EPSILON, best_knobs, fit_response


def equal_in_truth(seed: int, num_settings: int = 6, num_problems: int = 100) -> Outcomes:
    """Settings that differ by chance alone: each problem's outcomes are a permutation of the same ones."""
    rng = np.random.default_rng(seed)
    ease = rng.random(num_problems)
    accuracy = (rng.random((num_settings, num_problems)) < ease).astype(float)
    return Outcomes(rng.permuted(accuracy, axis=0), np.ones((num_settings, num_problems)), ease)


def test_a_choice_among_equal_settings_gains_nothing_on_other_problems() -> None:
    """And seems to gain on those that it was made on: the bias that the folds remove."""
    runs = [equal_in_truth(seed) for seed in range(200)]
    held_out = np.asarray([cross_validated(o, o, 5, 1.0, 2).gain for o in runs])
    own = np.asarray([in_sample(o, o, 5, 1.0).gain for o in runs])
    error = held_out.std() / np.sqrt(len(runs))
    assert abs(held_out.mean()) < 3 * error < 0.02
    assert own.mean() > 0.03
    assert own.min() >= 0


def test_settings_that_suit_their_level_gain_on_other_problems_too() -> None:
    ease = np.linspace(0, 1, 200)
    accuracy = np.stack([np.where(ease > 0.5, 0.9, 0.1), np.where(ease > 0.5, 0.3, 0.6)])
    outcomes = Outcomes(accuracy, np.ones_like(accuracy), ease)
    found = cross_validated(outcomes, outcomes, 2, 1.0, 2)
    assert found.gain == pytest.approx(0.75 - 0.5, abs=0.02)
    assert fit_table(outcomes, 2, 1.0).chosen == (0, 1)


def test_a_plan_with_one_setting_is_that_setting() -> None:
    one = equal_in_truth(0, num_settings=1)
    found = cross_validated(one, one, 5, 1.0, 2)
    np.testing.assert_array_equal(found.planned, one.accuracy[0])
    assert found.gain == 0


def test_a_setting_that_costs_too_much_is_not_chosen() -> None:
    outcomes = Outcomes(
        np.asarray([[0.2] * 4, [0.9] * 4]), np.asarray([[2.0] * 4, [4.0] * 4]), np.arange(4.0)
    )
    assert best_within(outcomes, 4.0) == 1
    assert best_within(outcomes, 3.9) == 0
    with pytest.raises(ValueError, match=r"every setting costs more than 1 samples; the cheapest 2\.00"):
        best_within(outcomes, 1.0)


def test_a_setting_of_n_samples_is_within_a_budget_of_n() -> None:
    """Its measured mean may be a little more on a few problems."""
    accuracy, cost = np.asarray([[0.2] * 4, [0.9] * 4]), np.asarray([[2.0] * 4, [4.1] * 4])
    assert best_within(Outcomes(accuracy, cost, np.arange(4.0)), 4.0) == 0
    assert best_within(Outcomes(accuracy, cost, np.arange(4.0), np.asarray([2.0, 4.0])), 4.0) == 1


@pytest.mark.parametrize("budget", [1.0, 2.0, 3.5, 8.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_budget_across_levels_is_spent_where_it_gains_most(seed: int, budget: float) -> None:
    """Concave curves of two levels: of all choices within the mean none is better by more than one step."""
    rng = np.random.default_rng(seed)
    sizes = np.asarray([1.0, 2.0, 4.0, 8.0])
    curves = [1 - np.exp(-rng.uniform(0.1, 1.0) * sizes) for _ in range(2)]
    levels = [
        Outcomes(np.tile(c[:, None], 10), np.tile(sizes[:, None], 10), np.full(10, float(i)))
        for i, c in enumerate(curves)
    ]
    found = best_across(levels, budget)
    assert np.mean([sizes[s] for s in found]) <= budget

    def total(chosen: Sequence[int]) -> float:
        return sum(float(c[s]) for c, s in zip(curves, chosen, strict=True))

    within = [x for x in itertools.product(range(4), repeat=2) if np.mean([sizes[s] for s in x]) <= budget]
    exact = [x for x in within if np.mean([sizes[s] for s in x]) == np.mean([sizes[s] for s in found])]
    assert total(found) == pytest.approx(max(map(total, exact)))  # the best at what it costs


def test_levels_spend_what_others_save() -> None:
    """Easy problems gain nothing from a second sample, hard ones much from a third."""
    accuracy = np.asarray([[1.0] * 4 + [0.0] * 4, [1.0] * 4 + [0.9] * 4])
    cost = np.asarray([[1.0] * 8, [3.0] * 8])
    outcomes = Outcomes(accuracy, cost, np.asarray([1.0] * 4 + [0.0] * 4))
    assert fit_table(outcomes, 2, 2.0).chosen == (0, 0)
    assert fit_table(outcomes, 2, 2.0, across=True).chosen == (0, 1)
    with pytest.raises(ValueError, match=r"costs more than 0\.5 samples"):
        fit_table(outcomes, 2, 0.5, across=True)


def test_a_tie_goes_to_the_cheaper_setting() -> None:
    accuracy, cost = np.full((3, 4), 0.5), np.asarray([[3.0] * 4, [1.0] * 4, [1.0] * 4])
    assert best_within(Outcomes(accuracy, cost, np.arange(4.0)), 4.0) == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 6))
def test_every_problem_has_a_level(ease: list[float], num_levels: int) -> None:
    table = Table(cut_points(np.asarray(ease), num_levels), ())
    levels = table.levels(ease)
    assert set(levels.tolist()) <= set(range(num_levels))
    order = np.argsort(ease)
    assert np.all(np.diff(levels[order]) <= 0)  # the easier, the lower


def test_levels_hold_equal_shares() -> None:
    ease = np.random.default_rng(0).permutation(100) / 100
    levels = Table(cut_points(ease, 5), ()).levels(ease)
    assert np.bincount(levels).tolist() == [20] * 5


def falling(rng: np.random.Generator, num: int) -> Floats:
    return np.sort(rng.random(num))[::-1]


@pytest.mark.parametrize("budget", [0, 1, 4, 7])
@pytest.mark.parametrize("seed", range(3))
def test_greedy_is_the_best_of_all_allocations_of_concave_curves(seed: int, budget: int) -> None:
    rng = np.random.default_rng(seed)
    gains = [falling(rng, 4) for _ in range(3)]

    def total(given: tuple[int, ...]) -> float:
        return sum(float(g[:n].sum()) for g, n in zip(gains, given, strict=True))

    every = [x for x in itertools.product(range(5), repeat=3) if sum(x) <= budget]
    found = tuple(greedy(gains, budget))
    assert sum(found) == budget
    assert total(found) == pytest.approx(max(map(total, every)))


def test_the_oracle_allocation_bounds_the_equal_one() -> None:
    curves = np.asarray([[0.9, 0.95, 0.97, 0.98], [0.1, 0.4, 0.6, 0.7], [0.0, 0.0, 0.0, 0.9]])
    equal = curves[:, 1].mean()
    assert oracle_allocation(curves, 2.0) >= equal
    assert oracle_allocation(curves, 1.0) == pytest.approx(curves[:, 0].mean())
    assert oracle_allocation(curves, 4.0) == pytest.approx(curves[:, 3].mean())


def test_least_squares_gives_back_the_coefficients() -> None:
    rng = np.random.default_rng(1)
    knobs, gains = rng.integers(1, 32, (60, 2)).astype(float), rng.random((60, 2))
    a, b, c = np.asarray([0.4, -0.1]), np.asarray([0.3, 0.2]), -1.0
    logits = ((a + b * gains) * np.log(knobs + EPSILON)).sum(axis=1) + c
    found = fit_response(knobs, gains, 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose([*found.a, *found.b, found.c], [*a, *b, c], atol=1e-9)
    costs = knobs.sum(axis=1)
    best = best_knobs(found, knobs, [0.5, 0.5], costs, 20.0)
    within = [i for i in range(60) if costs[i] <= 20]
    assert best == max(within, key=lambda i: float(found.accuracy(knobs[i], [0.5, 0.5])))
    with pytest.raises(ValueError, match="every setting costs more than 1"):
        best_knobs(found, knobs, [0.5, 0.5], costs, 1.0)
