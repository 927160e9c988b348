"""What bench_calibration computes: votes by weight, and maps that a problem's own samples have no part in."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchestrator.types import Reward
from tests.bench.adaptive_arrays import Problem, Sample
from tests.bench.calibrating import (
    RULES,
    by_reward,
    by_tilt,
    figures,
    fold_maps,
    joined,
    mapped,
    shares_right,
    weighed,
)


def samples(*rewards: tuple[float, str]) -> Problem:
    """Samples of two steps and three tokens with these rewards and answers; 1 is right."""
    return [Sample(True, key == "1", key, (0.0, Reward.from_value(r).log_odds), (1, 2)) for r, key in rewards]


def test_a_vote_by_reward_and_a_tilted_one() -> None:
    """Two wrong samples outvote a right one of a greater reward, until the tilt is great."""
    drawn = samples((0.9, "1"), (0.5, "2"), (0.45, "2"))
    assert by_reward(drawn) == pytest.approx([0.9, 0.5, 0.45])
    assert weighed(by_reward)(drawn) == (False, 3, 9, 3, 3)
    assert [weighed(by_tilt(t))(drawn)[0] for t in (0, 1, 30)] == [False, False, True]


def test_the_map_of_a_problem_is_fitted_to_other_problems() -> None:
    """All others say that a reward of .8 is never right; the one that it is right in has another map."""
    wrong, right = samples((0.8, "2")), samples((0.8, "1"))
    problems = [right if i == 3 else wrong for i in range(10)]
    maps = fold_maps(problems)
    assert maps[3].values != maps[0].values and maps[0].values == maps[1].values
    own = [each[0].log_odds for each in mapped(problems, maps * 2)]
    assert all(x[0] == 0.0 for x in own)
    assert own[3][1] < own[0][1] < 0


def lists() -> Sequence[Sequence[Problem]]:
    """Two lists of two samples of ten problems, whose rewards are too great."""
    easy, hard = samples((0.9, "1"), (0.7, "2")), samples((0.85, "2"), (0.75, "1"))
    return [[easy, hard] * 5, [hard, easy] * 5]


def test_the_figures_of_a_task() -> None:
    found = figures(lists())
    assert [len(each) for each in joined(lists())] == [4] * 10
    assert found["quality"]["as they come"]["num"] == 40
    assert found["quality"]["isotonic"]["ece"] < found["quality"]["as they come"]["ece"]
    assert found["weighing"].keys() == RULES.keys()
    assert found["weighing"]["stop at .9"]["raw"] == {"accuracy": 0.5, "samples": 1.5}
    assert found["tilt"]["best of N"] == found["tilt"]["t = 30"] == 0.5


def test_how_often_a_range_of_rewards_is_right() -> None:
    found = shares_right([samples((0.7, "1"), (0.75, "2"), (0.8, "1"), (0.96, "2"))])
    assert [(row["num"], row["right"]) for row in found] == [(2, 0.5), (1, 1.0)]
