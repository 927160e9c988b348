"""Intervals against figures worked out elsewhere."""

import numpy as np
import pytest

from orchestrator.intervals import (
    difficulty_levels,
    holm,
    mean_interval,
    paired_interval,
    pass_at_k,
    sign_test,
    student_quantile,
    wilson_interval,
)


def test_wilson_against_a_published_value() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263.
    low, high = wilson_interval(81, 263)
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


def test_wilson_edges() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)


def test_paired_interval_covers_a_known_difference() -> None:
    rng = np.random.default_rng(0)
    shared = rng.random((400, 1))
    a, b = shared + 0.1 + 0.01 * rng.normal(size=(400, 3)), np.repeat(shared, 3, axis=1)
    mean, low, high = paired_interval(a.tolist(), b.tolist())
    assert low < 0.1 < high
    assert high - low < 0.01  # pairing takes the spread between problems out
    assert mean == pytest.approx(0.1, abs=0.002)


def test_pass_at_k_is_the_share_of_subsets() -> None:
    assert pass_at_k(4, 1, 1) == 0.25
    assert pass_at_k(4, 1, 2) == 0.5
    assert pass_at_k(4, 0, 4) == 0.0
    assert pass_at_k(4, 4, 1) == 1.0


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    # Tables of Student's t, two-sided 5 %.
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227), (200, 1.97190)],
)
def test_students_t_against_the_tables(freedom: int, quantile: float) -> None:
    assert student_quantile(freedom) == pytest.approx(quantile, abs=1e-5)


def test_students_t_has_no_step_where_the_expansion_takes_over() -> None:
    before, after, limit = (student_quantile(n) for n in (200, 201, 10**9))
    assert 0 < before - after < 1e-4
    assert limit == pytest.approx(1.959964, abs=1e-6)


def test_mean_interval() -> None:
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5
    assert (mean, low, high) == (pytest.approx(2), pytest.approx(2 - half), pytest.approx(2 + half))
    assert mean_interval([0.5]) == (0.5, -np.inf, np.inf)
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(0, 0, 1.0), (3, 3, 1.0), (5, 0, 2 / 32), (0, 5, 2 / 32), (9, 1, 2 * 11 / 1024), (2000, 2000, 1.0)],
)
def test_sign_test(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p)


def test_holm() -> None:
    # Holm (1979): the smallest times 4, the next times 3, and never below one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_difficulty_levels_are_shares_of_the_problems() -> None:
    assert difficulty_levels([0.9, 0.1, 0.5, 0.7, 0.3]) == [1, 5, 3, 2, 4]
    assert difficulty_levels([1.0, 0.75, 0.25, 0.0], num_levels=2) == [1, 1, 2, 2]
    rates = np.random.default_rng(0).permutation(100) / 100
    assert np.bincount(difficulty_levels(rates.tolist()))[1:].tolist() == [20] * 5


def test_problems_of_one_pass_rate_are_on_one_level() -> None:
    assert difficulty_levels([0.0] * 10) == [3] * 10
    assert difficulty_levels([1.0] * 6 + [0.0] * 4) == [2] * 6 + [5] * 4
    assert difficulty_levels([]) == []
