"""Intervals against figures worked out elsewhere."""

import numpy as np
import pytest

from orchestrator.statistics import paired_interval, pass_at_k, wilson_interval


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
