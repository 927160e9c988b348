"""Tilted votes: the majority at one end, the best of N at the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.allocation.calibration import quantiles as pure_quantiles
from orchestrator.errors import ConfigError
from orchestrator.testing import World
from strategies import BestOfN, SelfConsistency
from strategies.parts.tilting import quantiles, tilted
from tests.toy import EVEN, sampling, uneven

VOTES = SelfConsistency(8, sampling(max_tokens=16), weight="tilt")


def test_quantiles_are_those_of_the_calibration() -> None:
    rewards = [0.3, -1.0, 0.3, 7.0, float("-inf")]
    assert quantiles(rewards) == pure_quantiles(rewards).tolist()
    assert quantiles([2.0, 2.0]) == [0.5, 0.5]


def test_the_greatest_reward_votes_with_1() -> None:
    assert tilted([0.0, 1.0], 2.0) == [-1.0, 0.0]
    assert tilted([], 2.0) == []


@pytest.mark.parametrize("seed", range(12))
async def test_the_limits_are_the_majority_and_the_best_of_n(seed: int) -> None:
    async def answer(strategy: SelfConsistency | BestOfN) -> tuple[int | None, tuple[float, ...]]:
        solution = await World(language=EVEN, reward=uneven).solve(strategy, seed)
        return solution.answer_index, solution.log_weights

    plain, plain_votes = await answer(replace(VOTES, weight="count", tie_break=_reward))
    assert await answer(replace(VOTES, tilt=0.0)) == (plain, plain_votes)
    best, _ = await answer(BestOfN(8, sampling(max_tokens=16)))
    greatest, votes = await answer(replace(VOTES, tilt=1e9))
    assert greatest == best
    assert max(votes) == 0


def _reward(trajectory: object) -> float:
    """Ties of a vote go to the greatest reward, which a plain vote does not ask for."""
    steps = tuple(step.text for step in trajectory.steps)  # type: ignore[attr-defined]
    return uneven("", steps)


def test_waves_and_a_negative_tilt_are_refused() -> None:
    with pytest.raises(ConfigError, match="wave_size=2: must be 0 with weight=tilt"):
        replace(VOTES, wave_size=2)
    with pytest.raises(ConfigError, match=r"strategy\.tilt=-1"):
        replace(VOTES, tilt=-1.0)
    assert VOTES.readouts == ("per_step", "whole")
