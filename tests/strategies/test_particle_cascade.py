"""The particle cascade: unbiased in any order of arrival, and it waits for nobody."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ConfigError, EngineError
from orchestrator.testing import RandomLatency, TokenLatency
from orchestrator.types import Trajectory
from strategies.particle_cascade import Barrier, ParticleCascade
from strategies.particle_filter import ParticleFilter
from strategies.parts.weights import log_sum_exp
from tests.bench.virtual_time import run_at_once
from tests.laws import assert_mean, hold_mean
from tests.quick_session import QuickSession
from tests.toy import BRANCHING, Table, World, enumerate_paths, records_of, sampling, uneven


def cascade(num_samples: int = 4, max_steps: int = 4, **knobs: Any) -> ParticleCascade:
    return ParticleCascade(num_samples, max_steps, sampling(), **knobs)


EVIDENCE = sum(p * uneven("", path) for path, p in enumerate_paths(BRANCHING, 4).items())


class Shuffled(QuickSession):
    """Replies arrive in an order of their own: each waits for up to three turns of the others."""

    async def generate(self, trajectories: Sequence[Trajectory], params: object) -> list[Trajectory]:
        for _ in range(int(self.rng.integers(4))):
            await asyncio.sleep(0)
        return await super().generate(trajectories, params)


@pytest.mark.heavy
def test_evidence_is_unbiased_in_any_order_of_arrival() -> None:
    session, strategy = Shuffled(BRANCHING, uneven, 4).as_session(), cascade(weighting="incremental")
    with asyncio.Runner() as runner:
        hold_mean(lambda: math.exp(log_sum_exp(runner.run(strategy.solve(session)).log_weights)), EVIDENCE)


@pytest.mark.heavy
def test_evidence_is_unbiased_where_replies_take_time() -> None:
    """The law above through requests, seeds and the ledger as well, as far as 400 searches can show it."""
    strategy = cascade(weighting="incremental")

    async def estimate(seed: int) -> float:
        world = World(BRANCHING, uneven)
        world.engine.latency = RandomLatency(seed, 0.001)
        solution = await world.solve(strategy, seed)
        return math.exp(log_sum_exp(solution.log_weights))

    async def run() -> list[float]:
        return list(await asyncio.gather(*(estimate(seed) for seed in range(400))))

    assert_mean(run_at_once(run()), EVIDENCE, bias=0.15)


def branched(
    log_weights: list[float], seed: int = 0, most: int = 3
) -> tuple[Barrier, list[tuple[int, float]]]:
    barrier, rng = Barrier(), np.random.default_rng(seed)
    outcomes = []
    for log_weight in log_weights:
        barrier.arrive(log_weight)
        outcomes.append(barrier.branch(rng, most))
    return barrier, outcomes


@pytest.mark.heavy
def test_the_expected_weight_goes_on() -> None:
    weights = [0.5, 0.1, 0.9, 0.05, 2.0, 0.7]
    passed = np.array(
        [
            [n * math.exp(lw) for n, lw in branched([math.log(w) for w in weights], seed)[1]]
            for seed in range(4000)
        ]
    )
    error = passed.std(axis=0) / math.sqrt(4000)
    assert (np.abs(passed.mean(axis=0) - weights) <= 4.5 * error + 1e-12).all()


@pytest.mark.parametrize(
    ("log_weights", "copies"),
    [
        ([-5.0], [1]),  # the first always goes on
        ([0.0, 0.0, 0.0], [1, 1, 1]),
        ([0.0, -math.inf, 0.0], [1, 0, 2]),  # mean 2/3: 1.5, rounded up by this draw
        ([-math.inf, -math.inf], [1, 1]),  # nothing tells them apart
        ([-800.0, 800.0], [1, 2]),  # half of the mean is another's, however small
        ([0.0, -math.inf, -math.inf, math.log(27)], [1, 0, 0, 3]),  # mean 7: 27 / 7 = 3.9, at most three
    ],
)
def test_branching(log_weights: list[float], copies: list[int]) -> None:
    barrier, outcomes = branched(log_weights, seed=1)
    assert [n for n, _ in outcomes] == copies
    assert len(barrier.ancestors) == sum(copies)


@pytest.mark.parametrize("share", [0.3, 0.75, 1.0])
async def test_every_particle_can_be_brought_to_its_end(share: float) -> None:
    """Copies are made of spare steps only: the budget is kept, and nobody is left on the way."""
    language = Table({}, {"a\n": 0.6, "b\n": 0.4})
    for seed in range(20):
        world = World(language, uneven)
        world.engine.latency = RandomLatency(seed, 0.001)
        strategy = cascade(6, 5, initial_share=share)
        solution = await world.solve(strategy, seed)
        assert 5 <= len(world.engine.requests) <= 6 * 5
        assert sum(r.token_ids == () for r in world.engine.requests) == strategy.num_initial
        assert all(len(t.steps) == 5 for t in solution.trajectories)
        assert all(r.num_alive == len(r.ancestors) for r in records_of(solution))


async def solve_all(world: World, strategy: Any) -> float:
    """Solve four times; return the seconds of the event loop's clock that it took."""
    for seed in range(4):
        await world.solve(strategy, seed)
    return asyncio.get_running_loop().time()


def test_nobody_waits_for_the_slowest_step() -> None:
    """Steps of 2 and of 20 tokens: the filter pays the slowest at each step, the cascade the slowest path."""
    language = Table({}, {"a\n": 0.7, "b" * 19 + "\n": 0.3})
    took = {}
    for strategy in (
        ParticleFilter(8, 8, sampling(max_tokens=32)),
        ParticleCascade(8, 8, sampling(max_tokens=32)),
    ):
        world = World(language, lambda q, steps: 0.5)
        world.engine.latency = TokenLatency(0.001)
        took[type(strategy)] = run_at_once(solve_all(world, strategy))
    assert took[ParticleCascade] < 0.9 * took[ParticleFilter]


async def test_an_error_is_one_error_and_nothing_runs_on() -> None:
    world = World()
    world.engine.fail_on = "abca"
    with pytest.raises(EngineError):
        await world.solve(cascade(5))
    num_requests = len(world.engine.requests)
    await asyncio.sleep(0.01)
    assert len(world.engine.requests) == num_requests


def test_a_bad_share_is_named() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.initial_share=0"):
        cascade(initial_share=0.0)


async def test_it_is_reproducible_where_arrival_is() -> None:
    first, again = [await World(BRANCHING, uneven).solve(cascade(8), 3) for _ in range(2)]
    assert first == again
