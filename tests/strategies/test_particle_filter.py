"""Particle filtering against enumeration, and the edges where others went wrong."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ConfigError, VerifierError
from orchestrator.search.strategy import Strategy
from orchestrator.testing import FakeEngine
from orchestrator.types import Finish, Solution
from strategies.particle_filter import ParticleFilter
from strategies.parts.resampling import RESAMPLERS
from strategies.parts.weights import log_mean_exp, normalise
from tests.laws import assert_mean, hold_mean, total_variation
from tests.quick_session import QuickSession
from tests.toy import (
    BRANCHING,
    EVEN,
    Steps,
    Table,
    World,
    enumerate_paths,
    normalised,
    odds,
    records_of,
    sampling,
    steps_of,
    uneven,
)


def particle_filter(num_particles: int = 4, max_steps: int = 4, **knobs: Any) -> ParticleFilter:
    return ParticleFilter(num_particles, max_steps, knobs.pop("sampling", sampling()), **knobs)


def solve_all(strategy: ParticleFilter, world: World, num_runs: int) -> list[Solution]:
    async def run() -> list[Solution]:
        return [await world.solve(strategy, seed) for seed in range(num_runs)]

    return asyncio.run(run())


def evidence_of(session: QuickSession, strategy: Strategy) -> float:
    return math.exp(log_mean_exp(session.solve(strategy).log_weights))


@pytest.mark.parametrize(
    ("resampling", "ess_threshold"),
    [
        pytest.param(name, ess, marks=[] if (name, ess) == ("systematic", 0.8) else pytest.mark.heavy)
        for name in RESAMPLERS
        for ess in (0.0, 0.8, 1.0)
    ],
)
def test_evidence_is_unbiased(resampling: Any, ess_threshold: float) -> None:
    """The log-mean-exp of incremental log-weights: its exponential has the enumerated mean."""
    paths = enumerate_paths(BRANCHING, 4)
    evidence = sum(p * uneven("", path) for path, p in paths.items())
    strategy = particle_filter(
        24, weighting="incremental", resampling=resampling, ess_threshold=ess_threshold
    )
    session = QuickSession(BRANCHING, uneven, 4)
    hold_mean(lambda: evidence_of(session, strategy), evidence)


def test_the_gate_of_the_law_above_opens_after_some_steps_and_not_after_others() -> None:
    session = QuickSession(BRANCHING, uneven, 4)
    strategy = particle_filter(24, weighting="incremental", resampling="systematic", ess_threshold=0.8)
    records = [r for _ in range(40) for r in records_of(session.solve(strategy))[:-1]]
    assert 0.3 < np.mean([r.ancestors != tuple(range(24)) for r in records]) < 0.8


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("num_particles", "num_runs", "bias"),
    [(4, 250, 0.2), pytest.param(16, 2000, 0.03, marks=pytest.mark.slow)],
)
def test_a_session_without_models_draws_what_a_session_draws(
    num_particles: int, num_runs: int, bias: float
) -> None:
    """The law above through requests, seeds and the ledger as well, as far as so few searches can show it."""
    evidence = sum(p * uneven("", path) for path, p in enumerate_paths(BRANCHING, 4).items())
    strategy = particle_filter(
        num_particles, weighting="incremental", resampling="systematic", ess_threshold=0.8
    )
    solutions = solve_all(strategy, World(BRANCHING, uneven), num_runs)
    assert_mean([math.exp(log_mean_exp(s.log_weights)) for s in solutions], evidence, bias=bias)


@pytest.mark.heavy
@pytest.mark.parametrize("resampling", ["multinomial", "systematic"])
@pytest.mark.parametrize(
    ("num_particles", "ess_threshold", "num_runs", "bias"),
    [(4, 1.0, 1000, 0.1), pytest.param(16, 0.8, 2000, 0.03, marks=pytest.mark.slow)],
)
def test_evidence_is_unbiased_where_texts_go_on(
    num_particles: int, ess_threshold: float, num_runs: int, bias: float, resampling: Any
) -> None:
    """Survivors keep the seed of their text, copies get others: the same law, drawn from other numbers."""
    evidence = sum(p * uneven("", path) for path, p in enumerate_paths(BRANCHING, 4).items())
    strategy = particle_filter(
        num_particles, weighting="incremental", resampling=resampling, ess_threshold=ess_threshold
    )
    world = World(BRANCHING, uneven, engine=FakeEngine(sampler="stream"))
    solutions = solve_all(strategy, world, num_runs)
    assert_mean([math.exp(log_mean_exp(s.log_weights)) for s in solutions], evidence, bias=bias)
    asked = world.engine.requests
    assert {r.seed for r in asked if r.token_ids} & {r.seed for r in asked if not r.token_ids}, "none went on"


@pytest.mark.heavy
@pytest.mark.parametrize("aggregation", ["min", "prod", "mean"])
@pytest.mark.parametrize("tempering", [1.0, 2.5])
def test_evidence_is_unbiased_for_every_aggregation_and_tempering(aggregation: Any, tempering: float) -> None:
    reduce: Any = {"min": min, "prod": math.prod, "mean": np.mean}[aggregation]
    evidence = sum(
        p * reduce([uneven("", path[: i + 1]) for i in range(len(path))])
        for path, p in enumerate_paths(BRANCHING, 4).items()
    )
    strategy = particle_filter(
        24, weighting="incremental", aggregation=aggregation, tempering=tempering, resampling="systematic"
    )
    session = QuickSession(BRANCHING, uneven, 4)
    hold_mean(lambda: evidence_of(session, strategy), evidence)


def mass_of(solution: Solution) -> dict[Any, float]:
    mass: dict[Any, float] = defaultdict(float)
    for path, weight in zip(steps_of(solution), normalise(solution.log_weights), strict=True):
        mass[path] += float(weight)
    return mass


def absolute_target(language: Table, num_steps: int) -> dict[Any, float]:
    """policy(x) times the odds of the reward at each of the steps; one that ended counts its last again."""

    def product(path: Steps) -> float:
        return math.prod(odds(uneven("", path[: t + 1])) for t in range(num_steps))

    return normalised({path: p * product(path) for path, p in enumerate_paths(language, num_steps).items()})


def incremental_target(language: Table, num_steps: int) -> dict[Any, float]:
    return normalised({x: p * uneven("", x) for x, p in enumerate_paths(language, num_steps).items()})


@pytest.mark.heavy
@pytest.mark.parametrize(("language", "num_steps"), [(EVEN, 3), (BRANCHING, 4)])
@pytest.mark.parametrize("weighting", ["absolute", "incremental"])
def test_weighted_particles_match_the_enumerated_target(
    language: Any, num_steps: int, weighting: Any
) -> None:
    targets: Any = {"absolute": absolute_target, "incremental": incremental_target}
    target = targets[weighting](language, num_steps)
    other = targets["incremental" if weighting == "absolute" else "absolute"](language, num_steps)
    assert total_variation(target, other) > 0.15  # the two differ enough to be told apart
    strategy = particle_filter(3000, num_steps, weighting=weighting, resampling="systematic")
    (solution,) = solve_all(strategy, World(language, uneven), 1)
    assert total_variation(mass_of(solution), target) < 0.05


def test_absolute_weights_with_a_gate_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.ess_threshold=0\.5: must be 1\.0 with absolute"):
        particle_filter(ess_threshold=0.5)


@pytest.mark.parametrize(
    ("knobs", "key"),
    [
        ({"num_particles": 0}, "strategy.num_particles"),
        ({"max_steps": 0}, "strategy.max_steps"),
        ({"max_steps": True}, "strategy.max_steps"),
        ({"weighting": "relative"}, "strategy.weighting"),
        ({"aggregation": "sum"}, "strategy.aggregation"),
        ({"resampling": "systemic"}, "strategy.resampling"),
        ({"selection": "best"}, "strategy.selection"),
        ({"tempering": 0.0}, "strategy.tempering"),
        ({"epsilon": 0.5}, "strategy.epsilon"),
        ({"ess_threshold": 1.5}, "strategy.ess_threshold"),
        ({"sampling": sampling(temperature=-1.0)}, "strategy.sampling.temperature"),
        ({"sampling": sampling(top_p=0.0)}, "strategy.sampling.top_p"),
        ({"sampling": sampling(max_tokens=0)}, "strategy.sampling.max_tokens"),
    ],
)
def test_a_bad_knob_is_named(knobs: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        particle_filter(**knobs)
    assert error.value.key == key


def test_a_misspelled_choice_gets_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'systematic'"):
        particle_filter(resampling="systemic")


@pytest.mark.parametrize("num_runs", [200, pytest.param(2000, marks=pytest.mark.slow)])
async def test_the_best_finished_particle_is_never_lost(num_runs: int) -> None:
    """Others resample after the last step, and lose it in some 9 % of runs at N=4."""
    lost = {False: 0, True: 0}
    for final_resample in lost:
        strategy = particle_filter(4, 3, final_resample=final_resample)
        for seed in range(num_runs):
            world = World(EVEN, uneven)  # all finish in the third step: the last four rewards are theirs
            solution = await world.solve(strategy, seed)
            assert world.verifier is not None and solution.answer_index is not None
            best = max(uneven("", request.steps) for request in world.verifier.requests[-4:])
            chosen = solution.trajectories[solution.answer_index].reward
            assert chosen is not None
            lost[final_resample] += chosen.value < best - 1e-9
    assert lost[False] == 0
    assert lost[True] > 0.005 * num_runs


@pytest.mark.parametrize("max_steps", [1, 2, 3])
async def test_exactly_max_steps(max_steps: int) -> None:
    endless = World(Table({}, {"a\n": 0.6, "b\n": 0.4}), uneven)
    solution = await endless.solve(particle_filter(3, max_steps))
    assert [len(t.steps) for t in solution.trajectories] == [max_steps] * 3
    assert len(records_of(solution)) == max_steps
    assert len(endless.engine.requests) == 3 * max_steps
    assert solution.answer_index is not None  # none finished: the best is offered all the same


async def test_a_finished_or_truncated_particle_costs_nothing_more() -> None:
    language = Table({"": {"=1\n": 0.4, "a\n": 0.3, "a long step that is cut off\n": 0.3}}, {"b\n": 1.0})
    world = World(language, uneven)
    solution = await world.solve(particle_filter(8, 5, sampling=sampling(max_tokens=4)))
    for request in world.engine.requests:
        assert "=" not in "".join(map(chr, request.token_ids))
    assert len(world.verifier.requests) == len(world.engine.requests)  # type: ignore[union-attr]
    assert all(t.steps[-1].finish is not Finish.LENGTH for t in solution.trajectories if t.finished)


async def test_a_step_exactly_at_the_token_limit_is_whole() -> None:
    world = World(Table({"": {"abc\n": 1.0}}, {"=1\n": 1.0}), uneven)
    solution = await world.solve(particle_filter(2, 3, sampling=sampling(max_tokens=4)))
    assert steps_of(solution) == [("abc\n", "=1\n")] * 2


async def test_end_of_text_at_the_first_step_and_an_empty_step() -> None:
    world = World(Table({}, {"": 1.0}), uneven)
    solution = await world.solve(particle_filter(3, 5))
    assert steps_of(solution) == [("",)] * 3
    assert all(t.finished for t in solution.trajectories)
    assert len(records_of(solution)) == 1


@pytest.mark.parametrize("weighting", ["absolute", "incremental"])
@pytest.mark.parametrize("reward", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
async def test_equal_rewards_at_the_ends_of_the_scale(weighting: Any, reward: float, epsilon: float) -> None:
    world = World(BRANCHING, lambda question, steps: reward)
    solution = await world.solve(particle_filter(6, 4, weighting=weighting, epsilon=epsilon))
    assert len(solution.trajectories) == 6
    assert records_of(solution)[0].ess == pytest.approx(6)
    assert solution.answer_index is not None


async def test_a_reward_of_exactly_zero_is_a_reward() -> None:
    """Zero is not 'missing': the particle stays a candidate, with the least weight."""
    world = World(Table({}, {"=1\n": 0.5, "=2\n": 0.5}), lambda q, steps: 0.0 if steps == ("=1\n",) else 0.4)
    solution = await world.solve(particle_filter(16, 2, epsilon=0.0))
    zeros = [
        lw for lw, path in zip(solution.log_weights, steps_of(solution), strict=True) if path == ("=1\n",)
    ]
    assert zeros and set(zeros) == {-math.inf}
    assert len(solution.trajectories) == 16
    assert solution.answer_index is not None
    assert steps_of(solution)[solution.answer_index] == ("=2\n",)


async def test_a_reward_that_is_no_number_ends_the_problem() -> None:
    world = World(BRANCHING, lambda question, steps: math.nan)
    with pytest.raises(VerifierError, match="nan"):
        await world.solve(particle_filter())


async def test_one_particle() -> None:
    for resampling in RESAMPLERS:
        solution = await World(BRANCHING, uneven).solve(particle_filter(1, 4, resampling=resampling))
        assert solution.answer_index == 0
        assert all(r.ess == 1 and r.entropy == 1 and r.ancestors == (0,) for r in records_of(solution))


async def test_history_is_the_genealogy() -> None:
    solution = await World(EVEN, uneven).solve(particle_filter(5, 3))
    assert [r.num_alive for r in records_of(solution)] == [5, 5, 0]
    assert records_of(solution)[-1].ancestors == (0, 1, 2, 3, 4)  # nothing is chosen after the last step
    assert any(r.ancestors != (0, 1, 2, 3, 4) for r in records_of(solution)[:-1])


async def test_temperature_is_forwarded_at_every_step() -> None:
    world = World(EVEN, uneven)
    await world.solve(particle_filter(3, 3, sampling=sampling(temperature=0.3, top_p=0.9)))
    assert {r.params for r in world.engine.requests} == {sampling(temperature=0.3, top_p=0.9)}
    assert len({r.seed for r in world.engine.requests}) == len(world.engine.requests) == 9


@pytest.mark.parametrize(
    ("selection", "answers"),
    [
        ("argmax", {"=2\n"}),
        ("majority", {"=1\n"}),
        ("weighted_majority", {"=2\n"}),
        ("sample", {"=1\n", "=2\n"}),
    ],
)
async def test_selection(selection: Any, answers: set[str]) -> None:
    """Nine in ten say 1 with reward .1; one in ten says 2 with reward .9."""
    language = Table({}, {"=1\n": 0.88, "=2\n": 0.12})
    world = World(language, lambda q, steps: 0.9 if steps == ("=2\n",) else 0.02)
    chosen = set()
    for seed in range(12):
        solution = await world.solve(particle_filter(40, 2, selection=selection), seed)
        assert solution.answer_index is not None
        chosen.add(steps_of(solution)[solution.answer_index][0])
    assert chosen == answers
