"""The gain of a plan on other folds, over many splits."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.allocation.plans import Outcomes
from tests.bench.bench_plans import LEVELS, held_out


def outcomes(easy: float, hard: float) -> Outcomes:
    """Two settings of one cost on 40 problems: one solves the easy half, and the other as much of each."""
    ease = np.linspace(1.0, 0.0, 40)
    is_easy = ease > 0.5
    accuracy = np.stack([np.where(is_easy, 1.0, 0.0), np.where(is_easy, easy, hard)])
    return Outcomes(accuracy, np.full((2, 40), 4.0), ease)


def test_a_plan_that_is_right_at_every_level_gains_what_the_single_setting_loses() -> None:
    """Of five levels the third has both halves; the first setting is the best single one of most splits."""
    assert LEVELS == 5
    own = outcomes(0.2, 0.9)
    found = held_out(own, own, 4.0, across=False)
    assert found["gain"][0] > 0.25 and found["splits"][0] > 0 and found["samples"] == [4.0, 4.0]


def test_settings_that_are_equal_gain_nothing_in_the_mean_and_something_in_a_split() -> None:
    rng = np.random.default_rng(0)
    same = Outcomes((rng.random((3, 60)) < 0.5).astype(float), np.full((3, 60), 4.0), rng.random(60))
    found = held_out(same, same, 4.0, across=False)
    assert found["splits"][0] < -0.1 and found["splits"][1] > 0.1
    assert found["gain"][0] == pytest.approx(0, abs=0.02)
