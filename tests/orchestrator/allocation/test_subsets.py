"""What k of M samples would have answered, against the enumeration of all subsets."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.bounds import GAP, bounds
from orchestrator.allocation.subsets import (
    NO_ANSWER,
    best_of,
    drawn_of,
    majority_of,
    pass_at,
    worst_of,
)
from orchestrator.allocation.surface import surface

Sampled = list[tuple[float, bool]]
# Few values of the reward: ties are common.
REWARDS = st.sampled_from([-math.inf, -1.0, 0.5, 2.0, math.inf])
SAMPLES = st.lists(st.tuples(REWARDS, st.booleans()), min_size=1, max_size=8)


def over_subsets(samples: Sampled, k: int, value: Callable[[list[tuple[float, bool]]], float]) -> float:
    subsets = [list(chosen) for chosen in itertools.combinations(samples, k)]
    return math.fsum(map(value, subsets)) / len(subsets)


def of_the_best(chosen: Sampled) -> float:
    """The share of right ones among those of the greatest reward: a tie has no first."""
    top = max(reward for reward, _ in chosen)
    tied = [right for reward, right in chosen if reward == top]
    return sum(tied) / len(tied)


@given(SAMPLES, st.data())
def test_closed_forms_equal_the_mean_over_all_subsets(samples: Sampled, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(samples)))
    rewards, right = np.asarray([r for r, _ in samples]), np.asarray([x for _, x in samples])
    assert best_of(rewards, right, [k])[0] == pytest.approx(over_subsets(samples, k, of_the_best), abs=1e-12)
    any_right = over_subsets(samples, k, lambda chosen: any(x for _, x in chosen))
    assert pass_at(right, [k])[0] == pytest.approx(any_right, abs=1e-12)
    all_right = over_subsets(samples, k, lambda chosen: all(x for _, x in chosen))
    assert worst_of(right, [k])[0] == pytest.approx(all_right, abs=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_reward_that_is_the_label_chooses_as_the_oracle_does(labels: list[bool]) -> None:
    right, ks = np.asarray(labels), range(1, len(labels) + 1)
    np.testing.assert_allclose(best_of(right.astype(float), right, ks), pass_at(right, ks), atol=1e-12)


def test_a_majority_of_all_samples_is_the_vote() -> None:
    keys = np.asarray([0, 1, 1, NO_ANSWER, NO_ANSWER, NO_ANSWER])
    right = keys == 1
    assert majority_of(keys, right, [6])[0] == 1.0  # what has no answer does not vote
    tied = majority_of(np.asarray([0, 0, 1, 1]), np.asarray([True, True, False, False]), [4])
    assert tied[0] == 0.5
    assert majority_of(np.asarray([NO_ANSWER]), np.asarray([False]), [1])[0] == 0.0


def test_a_majority_of_three_against_enumeration() -> None:
    keys = np.asarray([0, 0, 1, 2, 1, 0, 3])
    right = keys == 0

    def elected(chosen: list[int]) -> float:
        counts = np.bincount([keys[i] for i in chosen])
        leaders = np.flatnonzero(counts == counts.max())
        return float(0 in leaders) / len(leaders)

    exact = np.mean([elected(list(c)) for c in itertools.combinations(range(7), 3)])
    # 200 fixed orders: the standard error is below .5 / sqrt(200).
    assert majority_of(keys, right, [3])[0] == pytest.approx(exact, abs=3 * 0.5 / math.sqrt(200))


def test_a_draw_lies_between_the_best_and_any() -> None:
    rng = np.random.default_rng(1)
    log_odds = rng.normal(size=32)
    right = log_odds + rng.normal(size=32) > 0.5
    cold, hot = drawn_of(log_odds, right, 32, 1e-3), drawn_of(log_odds, right, 32, 1e9)
    assert cold == pytest.approx(drawn_of(log_odds, right, 32, 0.0), abs=1e-9)
    assert hot == pytest.approx(drawn_of(log_odds, right, 32, math.inf), abs=1e-6)
    assert hot < drawn_of(log_odds, right, 32, 1.0) < cold


def test_a_draw_of_all_samples_is_their_softmax() -> None:
    log_odds, right = np.asarray([0.0, math.log(3.0)]), np.asarray([False, True])
    assert drawn_of(log_odds, right, 2, 1.0) == pytest.approx(0.75)
    infinite = np.asarray([math.inf, math.inf, -math.inf])
    assert drawn_of(infinite, np.asarray([True, False, False]), 3, 1.0) == pytest.approx(0.5)


def test_a_judge_that_prefers_wrong_answers_has_a_finite_best_size() -> None:
    """The rarest sample is wrong and has the greatest reward: more samples find it more often."""
    right = [np.asarray([True] * 12 + [False] * 4)] * 30
    misjudged = [np.asarray([1.0] * 12 + [0.0, 0.0, 0.0, 9.0])] * 30
    found = surface(right, misjudged, 16, (0.0, math.inf))
    assert found.best_sizes[0] < 16
    assert found.fall(0).low > 0
    assert found.fall(1).value == 0
    trained = surface(right, [r.astype(float) for r in right], 16, (0.0,))
    assert trained.best_temperatures == (0.0,) * 5
    assert trained.fall(0).value == 0


def test_bounds_are_in_order() -> None:
    rng = np.random.default_rng(3)
    right = [rng.random(8) < p for p in rng.random(40)]
    log_odds = [r + rng.normal(size=8) for r in right]
    found = bounds(right, log_odds, [np.where(r, 0, 1) for r in right], 8)
    values = {name: interval.value for name, interval in found.items()}
    assert values["worst-of-N"] <= values["average"] <= values["best-of-N under the oracle"]
    assert values["worst-of-N"] <= values["best-of-N by reward"] <= values["best-of-N under the oracle"]
    gap = values["best-of-N under the oracle"] - values["best-of-N by reward"]
    assert values[GAP] == pytest.approx(gap)
    assert all(i.low <= i.value <= i.high for i in found.values())


def test_more_samples_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"k must be 1\.\.2"):
        pass_at(np.asarray([True, False]), [3])
