"""Entropic particle filtering: closed forms, what it equals when it is off, what look-ahead changes."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.types import Trajectory
from strategies.entropic_particle_filter import EntropicParticleFilter
from strategies.particle_filter import ParticleFilter
from strategies.parts.choosing import redraw
from strategies.parts.population import Population
from strategies.parts.resampling import RESAMPLERS, resample
from strategies.parts.tempering import Annealing, base_tempering, entropy_tempering, ess_tempering
from strategies.parts.weighting import Incremental
from strategies.parts.weights import log_mean_exp, normalise
from tests.laws import hold_mean, total_variation
from tests.quick_session import QuickSession
from tests.toy import (
    BRANCHING,
    EVEN,
    World,
    enumerate_paths,
    load,
    normalised,
    odds,
    records_of,
    sampling,
    steps_of,
    trajectory_of,
    uneven,
    uneven_as,
)


def entropic(num_particles: int = 4, max_steps: int = 4, **knobs: Any) -> EntropicParticleFilter:
    return EntropicParticleFilter(num_particles, max_steps, sampling(), **knobs)


ONE_IN_FIVE = np.array([1.0, 0.0, 0.0, 0.0, 0.0])  # ESS/N = .2
HALF_ENTROPY = np.array([0.5, 0.5, 0.0, 0.0])  # normalised entropy .5, ESS/N = .5


def test_closed_forms() -> None:
    assert ess_tempering(ONE_IN_FIVE, 0.2) == pytest.approx(4.0)
    assert ess_tempering(HALF_ENTROPY, 0.8) == 1.0
    assert entropy_tempering(HALF_ENTROPY, 0.3) == pytest.approx(1.5384615)
    assert entropy_tempering(np.array([0.5, 0.5]), 0.3) == 1.0  # a fair coin
    assert base_tempering(ONE_IN_FIVE, 0.25) == 1.75


@pytest.mark.parametrize(
    ("weights", "step", "tempering"),
    [
        (ONE_IN_FIVE, 2, 4.0),  # degenerate and early: 5 x (1 - 2/10)
        (ONE_IN_FIVE, 4, 3.0),
        (ONE_IN_FIVE, 5, 1.0),  # half of the steps are done
        (HALF_ENTROPY, 2, 1.0),  # ESS/N at the threshold is not below it
        (np.array([1.0]), 1, 1.0),  # one particle
    ],
)
def test_annealing_acts_early_and_on_degenerate_weights(weights: Any, step: int, tempering: float) -> None:
    assert Annealing("ess", max_steps=10)(step, weights) == pytest.approx(tempering)


@pytest.mark.parametrize("resampling", ["multinomial", "systematic"])
@pytest.mark.parametrize(
    "off", [{"annealing": "off"}, {"annealing_threshold": 0.0}, {"early_phase": 0.0}], ids=str
)
async def test_without_tempering_it_is_the_plain_filter(resampling: Any, off: dict[str, Any]) -> None:
    for seed in range(10):
        plain = ParticleFilter(6, 4, sampling(), resampling=resampling)
        entropic_ = entropic(6, 4, resampling=resampling, **off)
        expected = await World(BRANCHING, uneven).solve(plain, seed)
        assert await World(BRANCHING, uneven).solve(entropic_, seed) == expected


async def test_tempering_changes_the_draw_and_is_on_record() -> None:
    world = World(EVEN, lambda q, steps: 0.9 if steps[0] == "b\n" else 0.1)
    annealed = entropic(8, 3, annealing_threshold=1.0, early_phase=0.7)
    plain = entropic(8, 3, annealing="off")
    records = [(await world.solve(annealed, s), await world.solve(plain, s)) for s in range(30)]
    survivors = [[len(set(records_of(solution)[0].ancestors)) for solution in pair] for pair in records]
    assert np.mean([a for a, _ in survivors]) > 1.3 * np.mean([p for _, p in survivors])
    for solution, _ in records:
        first, second, last = records_of(solution)
        assert first.tempering == pytest.approx(max(1.0, 8 / first.ess * (1 - 1 / 3)))
        assert second.tempering == pytest.approx(max(1.0, 8 / second.ess * (1 - 2 / 3)))
        assert last.tempering == 1.0


async def test_the_successor_that_is_reused_is_the_plain_filter() -> None:
    """Resampling by the reward ahead, then going there, is resampling by the reward now, one step on."""
    for seed in range(10):
        solution = await World(EVEN, uneven).solve(
            entropic(6, 3, annealing="off", look_ahead="reuse", look_ahead_weight="successor"), seed
        )
        assert solution == await World(EVEN, uneven).solve(entropic(6, 3, annealing="off"), seed)


@pytest.mark.parametrize(("look_ahead", "num_calls"), [("off", 15), ("reuse", 15), ("fresh", 25)])
async def test_the_calls_of_look_ahead_are_in_the_ledger(look_ahead: Any, num_calls: int) -> None:
    """Five particles, three steps; what is looked at after the first and the second step, scored too."""
    world = World(EVEN, uneven)
    solution = await world.solve(entropic(5, 3, look_ahead=look_ahead))
    assert world.verifier is not None
    assert len(world.engine.requests) == len(world.verifier.requests) == num_calls
    assert solution.usage.reward_calls == num_calls


steep = uneven_as("9")
"""Rewards under which looking ahead makes a difference that can be seen."""


def step_odds(path: tuple[str, ...]) -> list[float]:
    return [odds(steep("", path[: t + 1])) for t in range(len(path))]


def successor_mean(path: tuple[str, ...]) -> float:
    """The policy's mean of the next step's odds."""
    return sum(p * step_odds((*path, text))[-1] for text, p in EVEN("", "".join(path)).items())


def plain_target(path: tuple[str, ...]) -> float:
    return math.prod(step_odds(path))


def reuse_target(path: tuple[str, ...]) -> float:
    a, b, c = step_odds(path)
    return a * (a * b) * c  # after steps 1 and 2 by the last two rewards; at the end by the last


def fresh_target(path: tuple[str, ...]) -> float:
    a, b, c = step_odds(path)
    return a * successor_mean(path[:1]) * b * successor_mean(path[:2]) * c


def enumerated(factor: Any) -> dict[Any, float]:
    return normalised({x: p * factor(x) for x, p in enumerate_paths(EVEN, 3).items()})


@pytest.mark.heavy
@pytest.mark.parametrize(("look_ahead", "factor"), [("reuse", reuse_target), ("fresh", fresh_target)])
async def test_look_ahead_against_enumeration(look_ahead: Any, factor: Any) -> None:
    target = enumerated(factor)
    assert total_variation(target, enumerated(plain_target)) > 0.3
    solution = await World(EVEN, steep).solve(entropic(3000, 3, annealing="off", look_ahead=look_ahead))
    mass: dict[Any, float] = defaultdict(float)
    for path, weight in zip(steps_of(solution), normalise(solution.log_weights), strict=True):
        mass[path] += float(weight)
    assert total_variation(mass, target) < 0.05


@pytest.mark.heavy
@pytest.mark.parametrize("look_ahead", ["off", "fresh"])
@pytest.mark.parametrize("annealing", ["ess", "entropy", "base"])
def test_the_evidence_stays_unbiased(look_ahead: Any, annealing: Any) -> None:
    """Under incremental weighting both additions change the proposal, not the target."""
    evidence = sum(p * uneven("", path) for path, p in enumerate_paths(BRANCHING, 4).items())
    knobs: dict[str, Any] = {"annealing_threshold": 1.0, "early_phase": 1.0, "weighting": "incremental"}
    strategy = entropic(24, annealing=annealing, look_ahead=look_ahead, **knobs)
    session = QuickSession(BRANCHING, uneven, 4)
    hold_mean(lambda: math.exp(log_mean_exp(session.solve(strategy).log_weights)), evidence)


def dies_at_the_second_step(_: str, steps: tuple[str, ...]) -> float:
    """A reward of exactly 0 for a successor ``b``, and .9 for everything else."""
    return 0.0 if steps[1:2] == ("b\n",) else 0.9


START, GOOD, DEAD = (
    trajectory_of(path, dies_at_the_second_step) for path in (("a\n",), ("a\n", "a\n"), ("a\n", "b\n"))
)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("resampling", "beta"),
    [*((name, 1.0) for name in RESAMPLERS), ("multinomial", 0.5), ("multinomial", 2.0)],
)
def test_a_look_ahead_to_a_reward_of_zero_leaves_the_evidence_unbiased(resampling: Any, beta: float) -> None:
    """Three successors in ten have the reward 0. Without the floor the evidence would be .44, not .63."""
    strategy = entropic(32, 2, weighting="incremental", resampling=resampling, look_ahead="fresh", beta=beta)
    rng, weighed_by = np.random.default_rng(5), Incremental()
    before = Population((START,) * 32, (math.log(0.9),) * 32)

    def successors() -> list[Trajectory]:
        return [GOOD if u < 0.7 else DEAD for u in rng.random(32)]

    def evidence() -> float:
        q = normalise(strategy._modulate(before, successors()))
        redrawn = redraw(before, weighed_by, q, resample(resampling, rng, q, 32)).population
        return math.exp(log_mean_exp(weighed_by.weigh(redrawn, successors())))

    hold_mean(evidence, 0.9 * 0.7)


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
async def test_whatever_has_weight_can_be_drawn(beta: float) -> None:
    """By .05 of its own weight, at any beta, where the successor's reward is 0; never without weight."""
    before = Population((START,) * 3, (math.log(0.4), math.log(0.4), -math.inf))
    strategy = entropic(weighting="incremental", look_ahead="fresh", beta=beta)
    modulated = np.exp(strategy._modulate(before, [GOOD, DEAD, GOOD]))
    assert modulated == pytest.approx([0.4**beta + 0.05 * 0.4, 0.05 * 0.4, 0.0])


@pytest.mark.parametrize("look_ahead", ["reuse", "fresh"])
async def test_a_reward_of_zero_rules_out_one_beside(look_ahead: Any) -> None:
    """Without a clip the log-odds of 0 and 1 are infinite: of their sum the 0 decides."""
    world = World(EVEN, lambda _, steps: float(len(steps) != 2))
    solution = await world.solve(entropic(4, 3, epsilon=0.0, look_ahead=look_ahead))
    assert {len(path) for path in steps_of(solution)} == {3}


@pytest.mark.parametrize(
    ("knobs", "key"),
    [
        ({"annealing": "es"}, "strategy.annealing"),
        ({"annealing_threshold": 2.0}, "strategy.annealing_threshold"),
        ({"early_phase": -0.1}, "strategy.early_phase"),
        ({"look_ahead": "on"}, "strategy.look_ahead"),
        ({"look_ahead_weight": "sum"}, "strategy.look_ahead_weight"),
        ({"beta": 0.0}, "strategy.beta"),
        ({"look_ahead": "reuse", "weighting": "incremental"}, "strategy.look_ahead"),
    ],
)
def test_a_bad_knob_is_named(knobs: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        entropic(**knobs)
    assert error.value.key == key


def test_the_shipped_configuration_anneals() -> None:
    strategy: Any = load("entropic_particle_filter")
    assert (strategy.annealing, strategy.look_ahead) == ("ess", "off")
