"""Parallel tempering: a round of sweeps and a swap leaves the chains' joint target as it is."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from itertools import product
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from strategies.parallel_tempering import ParallelTempering, ladder, swap_log_odds, swapped
from strategies.particle_gibbs import sweep
from strategies.parts.weighting import Incremental
from strategies.parts.weights import normalise
from tests.laws import assert_mean, chi_square_excess, total_variation
from tests.quick_session import QuickSession, at_once
from tests.toy import (
    BRANCHING,
    EVEN,
    Steps,
    Table,
    World,
    enumerate_paths,
    normalised,
    records_of,
    sampling,
    steps_of,
    trajectory_of,
    uneven,
)


def tempering(num_samples: int = 16, max_steps: int = 4, **knobs: Any) -> ParallelTempering:
    return ParallelTempering(num_samples, max_steps, sampling(), **knobs)


def tempered_target(power: float) -> dict[Steps, float]:
    paths = enumerate_paths(BRANCHING, 4)
    return normalised({x: p * uneven("", x) ** power for x, p in paths.items()})


def test_swaps_obey_detailed_balance() -> None:
    """pi_a(x) pi_b(y) A(x, y) = pi_a(y) pi_b(x) A(y, x), for every pair of trajectories."""
    cold, hot = 1.5, 4.0
    a, b = tempered_target(1 / cold), tempered_target(1 / hot)
    for x, y in product(a, repeat=2):
        there = min(0.0, swap_log_odds(cold, hot, math.log(uneven("", x)), math.log(uneven("", y))))
        back = min(0.0, swap_log_odds(cold, hot, math.log(uneven("", y)), math.log(uneven("", x))))
        assert a[x] * b[y] * math.exp(there) == pytest.approx(a[y] * b[x] * math.exp(back))


def test_the_better_reference_goes_to_the_cold_chain_and_the_other_way_at_its_odds() -> None:
    rng = np.random.default_rng(0)
    up = [swapped(rng, [math.log(0.2), math.log(0.8)], [1.0, 2.0], 0) for _ in range(200)]
    assert all(order == [1, 0] for order in up)
    down = [swapped(rng, [math.log(0.8), math.log(0.2)], [1.0, 2.0], 0) for _ in range(2000)]
    share = sum(order == [1, 0] for order in down) / 2000
    assert share == pytest.approx(0.25**0.5, abs=0.04)  # (.2/.8)^(1 - 1/2)


@pytest.mark.parametrize(
    ("log_rewards", "odds"),
    [((-math.inf, -1.0), math.inf), ((-1.0, -math.inf), -math.inf), ((-math.inf, -math.inf), 0.0)],
)
def test_swaps_with_a_reward_of_zero(log_rewards: tuple[float, float], odds: float) -> None:
    assert swap_log_odds(1.0, 2.0, *log_rewards) == odds


def test_neighbours_are_tried_in_turn() -> None:
    rng, rewards, temperings = np.random.default_rng(0), [-4.0, -3.0, -2.0, -1.0], ladder(4, 8.0)
    assert temperings == pytest.approx([1, 2, 4, 8])
    assert swapped(rng, rewards, temperings, 0) == [1, 0, 3, 2]
    assert swapped(rng, rewards, temperings, 1) == [0, 2, 1, 3]
    assert ladder(1, 8.0) == [1.0]


UNEQUAL = Table(
    {"": {"=1\n": 0.4, "a\n": 0.6}, "a\n": {"=1\n": 0.3, "=2\n": 0.2, "b\n": 0.5}},
    otherwise={"=1\n": 0.5, "=2\n": 0.5},
)
"""Five trajectories, of one to three steps."""


@pytest.mark.heavy
def test_a_round_leaves_the_joint_tempered_target_as_it_is() -> None:
    """References drawn from the product of both targets; each chain is swept, then a swap is tried."""
    paths, temperings, rng = enumerate_paths(UNEQUAL, 3), ladder(2, 4.0), np.random.default_rng(1)
    rewards = {x: uneven("", x) for x in paths}
    targets = [normalised({x: p * rewards[x] ** (1 / t) for x, p in paths.items()}) for t in temperings]
    joint = {(x, y): p * q for x, p in targets[0].items() for y, q in targets[1].items()}
    quick, strategy = QuickSession(UNEQUAL, uneven, 3, seed=5), tempering(max_steps=3)
    session = quick.as_session()

    def after_a_round(starts: tuple[Steps, ...]) -> tuple[Steps, ...]:
        held = [[trajectory_of(path, uneven)] for path in starts]
        sweeps = [at_once(strategy._sweep(session, 3, h, t)) for h, t in zip(held, temperings, strict=True)]
        references = strategy._exchange(session, [session] * 2, sweeps, temperings, first=0)
        return tuple(tuple(step.text for step in t.steps) for (t,) in references)

    starts = rng.choice(len(joint), size=6500, p=list(joint.values()))
    ends = [after_a_round(list(joint)[start]) for start in starts]
    assert chi_square_excess(Counter(ends), joint) < 4
    for chain, target in enumerate(targets):
        expected = sum(p * rewards[x] for x, p in target.items())
        assert_mean([rewards[end[chain]] for end in ends], expected, bias=0.03)


async def test_a_sweep_follows_the_reference_that_the_exchange_gave_its_chain() -> None:
    num_exchanged = 0
    for seed in range(20):
        solution = await World(EVEN, uneven).solve(tempering(16, 3), seed)
        cold, hot, *later = (solution.trajectories[i : i + 4] for i in range(0, 16, 4))
        colds, hots = (sweep[0] for sweep in later)
        assert (colds in cold and hots in hot) or (colds in hot and hots in cold)
        assert all(record.ancestors[0] == 0 for record in records_of(solution)[6:])
        num_exchanged += colds not in cold
    assert num_exchanged > 2


@pytest.mark.heavy
def test_a_hot_chain_aims_at_the_tempered_target() -> None:
    target = tempered_target(0.25)

    async def run() -> dict[Steps, float]:
        counts: dict[Steps, float] = defaultdict(float)
        world = World(BRANCHING, uneven)
        population, _ = await sweep(
            world.session(3), 3000, [], max_steps=4, params=sampling(), weighting=Incremental("last", 0.25)
        )
        for trajectory, weight in zip(population.particles, normalise(population.log_weights), strict=True):
            counts[tuple(s.text for s in trajectory.steps)] += float(weight) * 300
        return counts

    assert chi_square_excess(asyncio.run(run()), target) < 4


@pytest.mark.heavy
async def test_hot_particles_have_weights_for_the_cold_target() -> None:
    cold, hot = tempered_target(1.0), tempered_target(0.1)
    assert total_variation(cold, hot) > 0.15
    strategy = tempering(6000, num_iterations=1, max_tempering=10.0)
    solution = await World(BRANCHING, uneven).solve(strategy)
    particles, log_weights = steps_of(solution)[3000:], solution.log_weights[3000:]
    mass: dict[Steps, float] = defaultdict(float)
    for path, weight in zip(particles, normalise(log_weights), strict=True):
        mass[path] += float(weight)
    assert total_variation(mass, cold) < 0.04


async def test_all_chains_are_offered_with_their_weights_for_the_cold_target() -> None:
    solution = await World(EVEN, uneven).solve(tempering(16, 3))
    assert len(solution.trajectories) == 16
    assert np.exp(solution.log_weights).reshape(4, 4).sum(axis=1) == pytest.approx(1)
    assert [r.step for r in records_of(solution)] == list(range(1, 13))
    best = max(uneven("", path) for path in steps_of(solution))
    assert solution.answer_index is not None
    assert uneven("", steps_of(solution)[solution.answer_index]) == best


async def test_chains_have_randomness_of_their_own() -> None:
    world = World(EVEN, uneven)
    await world.solve(tempering(16, 3))
    seeds = [r.seed for r in world.engine.requests]
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("num_samples", "slots"),
    [(1, [[1]]), (7, [[7]]), (8, [[4, 4]]), (16, [[4, 4]] * 2), (17, [[5, 4], [4, 4]])],
)
def test_small_budgets(num_samples: int, slots: list[list[int]]) -> None:
    assert tempering(num_samples)._sizes() == slots


@pytest.mark.parametrize(
    ("knobs", "key"),
    [
        ({"num_chains": 0}, "strategy.num_chains"),
        ({"num_iterations": 0}, "strategy.num_iterations"),
        ({"min_particles": 1}, "strategy.min_particles"),
        ({"max_tempering": 0.5}, "strategy.max_tempering"),
    ],
)
def test_a_bad_knob_is_named(knobs: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        tempering(**knobs)
    assert error.value.key == key
