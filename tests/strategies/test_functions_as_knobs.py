"""A knob that names a function takes a function too: the user's own is called, checked and pickled."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import strategies
from orchestrator.config.build import build_node
from orchestrator.errors import ConfigError
from orchestrator.types import Denoising, Solution, Trajectory
from strategies.hex import Hex
from strategies.parts import resampling, tempering
from strategies.parts.majority_vote import log_likelihood
from strategies.parts.population import Population
from strategies.parts.weighting import Absolute, Incremental
from strategies.parts.weights import LogWeights, Weights
from tests.laws import assert_sound
from tests.toy import STRATEGIES, World, knobs_of, load, sampling


def first_slot(rng: np.random.Generator, weights: Weights, n: int) -> Any:
    """Every slot anew from the first: no named scheme ever does that for long."""
    del rng, weights
    return np.zeros(n, dtype=np.int64)


def hot(step: int, weights: Weights) -> float:
    del weights
    return 2.0 + step


def by_progress(weights: Weights, progress: float) -> float:
    del weights
    return 3.0 - progress


def worst(log_odds: Sequence[float]) -> float:
    """The named ``min``, as a user's own."""
    return min(log_odds)


def last_candidate(
    rng: np.random.Generator, keys: Sequence[str | None], scores: Sequence[float], log_weights: Any
) -> int:
    """The last candidate."""
    assert len(keys) == len(scores) == len(log_weights)
    return len(keys) - 1


def short_first(trajectory: Trajectory) -> float:
    return 1 / trajectory.num_tokens


def squared(before: float, after: float) -> float:
    return (after - before) ** 2


def rise(before: float, after: float) -> float:
    """The named ``increase``, as a user's own."""
    return max(0.0, after - before)


class Flat:
    """A weighting of the user's own, under which all particles weigh the same."""

    def weigh(self, parents: Population, children: Sequence[Trajectory]) -> LogWeights:
        return (0.0,) * len(children)

    def carry(self, log_weights: LogWeights, probabilities: Weights, ancestors: Any) -> LogWeights:
        return (0.0,) * len(ancestors)


def has(name: str, knob: str) -> bool:
    return knob in knobs_of(name)


def plain(**knobs: Any) -> strategies.ParticleFilter:
    return strategies.ParticleFilter(6, 4, sampling(), **knobs)


def entropic(**knobs: Any) -> strategies.EntropicParticleFilter:
    return strategies.EntropicParticleFilter(6, 4, sampling(), **knobs)


async def solve(strategy: Any, seed: int = 2) -> Solution:
    return await World().solve(strategy, seed)


async def test_ones_own_resampler_draws_the_ancestors() -> None:
    solution = await solve(plain(resampling=first_slot))
    *drawn, last = [record.ancestors for record in solution.history]  # type: ignore[union-attr]
    assert drawn and set(drawn) == {(0,) * 6} and last == tuple(range(6))


@pytest.mark.parametrize("name", resampling.RESAMPLERS)
async def test_the_named_resampler_as_a_function_is_the_named_one(name: resampling.SchemeName) -> None:
    for make in (plain, entropic):
        function = make(resampling=resampling.RESAMPLERS[name])
        assert await solve(function) == await solve(make(resampling=name))


@pytest.mark.parametrize("wrong", [[0] * 5, [0] * 5 + [6], [-1] * 6, [0.5] * 6, None])
async def test_a_resampler_that_returns_something_else_says_so(wrong: Any) -> None:
    with pytest.raises(ValueError, match="resampling must return 6 indices below 6"):
        await solve(plain(resampling=lambda rng, weights, n: wrong))


async def test_ones_own_tempering_and_annealing_are_in_the_history() -> None:
    *steps, _ = (await solve(plain(tempering=hot))).history
    assert [r.tempering for r in steps] == [2.0 + r.step for r in steps]  # type: ignore[union-attr]
    annealed = entropic(annealing=by_progress, annealing_threshold=1.0, early_phase=0.6)
    early = [r for r in (await solve(annealed)).history if r.tempering != 1]  # type: ignore[union-attr]
    assert early and all(r.tempering == 3.0 - r.step / 4 for r in early)  # type: ignore[union-attr]


async def test_the_named_schedule_as_a_function_is_the_named_one() -> None:
    function = entropic(annealing=tempering.entropy_tempering)
    assert await solve(function) == await solve(entropic(annealing="entropy"))


@pytest.mark.parametrize("name", [n for n in STRATEGIES if n != "particle_cascade" and has(n, "aggregation")])
async def test_the_named_aggregation_as_a_function_is_the_named_one(name: str) -> None:
    strategy: Any = load(name, 6)
    function, named = (replace(strategy, aggregation=how) for how in (worst, "min"))
    assert function.readouts == named.readouts
    assert await solve(function) == await solve(named)


@pytest.mark.parametrize("name", [n for n in STRATEGIES if has(n, "selection")])
async def test_ones_own_selection_chooses_the_answer(name: str) -> None:
    """Among the finished ones where there are any, as any selection."""
    solution = await solve(replace(load(name, 6), selection=last_candidate))  # type: ignore[type-var]
    finished = [i for i, t in enumerate(solution.trajectories) if t.finished]
    assert solution.answer_index == (finished or range(len(solution.trajectories)))[-1]


@pytest.mark.parametrize("name", ["particle_filter", "particle_gibbs"])
async def test_ones_own_weighting_weighs(name: str) -> None:
    strategy: Any = load(name, 6)
    flat = await solve(replace(strategy, weighting=Flat()))
    assert len(set(flat.log_weights)) == 1
    for name_of, weighs in (("absolute", Absolute()), ("incremental", Incremental())):
        own, named = (replace(strategy, weighting=w) for w in (weighs, name_of))
        assert await solve(own) == await solve(named)


async def test_the_cascade_weighs_by_an_object_too() -> None:
    assert_sound(await solve(replace(load("particle_cascade"), weighting=Incremental("min"))))  # type: ignore[type-var]


async def test_ones_own_vote_and_tie_break_elect() -> None:
    """Votes that count one each are a plain vote; a vote of 0 for all but the shortest elects that one."""
    votes: Any = load("self_consistency", 8)
    assert await solve(replace(votes, weight=lambda t: 1.0)) == await solve(votes)
    elected = await solve(replace(votes, weight=lambda t: float(t.num_tokens < 4)))
    assert min(elected.log_weights) == -math.inf
    likely, own = (replace(votes, tie_break=how) for how in ("likelihood", log_likelihood))
    assert await solve(own) == await solve(likely)
    paths = Hex(2, Denoising(gen_length=16), [2, 4], tie_break=short_first)
    assert paths == pickle.loads(pickle.dumps(paths))


async def test_a_vote_above_one_says_so() -> None:
    with pytest.raises(ValueError, match=r"a vote must be in \[0, 1\], and is 2"):
        await solve(replace(load("self_consistency"), weight=lambda t: 2.0))  # type: ignore[type-var]


async def test_ones_own_transition_cost_orders_the_frontier() -> None:
    search: Any = load("astar", 8, transition_cost="increase", wave=None, branching=8)
    named = await solve(search)
    assert await solve(replace(search, transition_cost=rise)) == named
    assert await solve(replace(search, transition_cost=squared)) != named


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: plain(resampling="systemic"), "strategy.resampling=systemic: must be one of multinomial, "),
        (lambda: plain(resampling=3), "strategy.resampling=3: must be one of multinomial, "),
        (lambda: plain(resampling=hot), r"ssp, or a function of \(rng, weights, n\)"),
        (lambda: plain(tempering=rise), None),
        (lambda: plain(tempering=lambda: 1.0), r"strategy.tempering=.*a function of \(step, weights\)"),
        (lambda: plain(tempering=0), "strategy.tempering=0: must be above 0 and finite"),
        (lambda: plain(selection=rise), r"a function of \(rng, keys, scores, log_weights\)"),
        (lambda: plain(aggregation=rise), r"strategy.aggregation=.*a function of \(log_odds\)"),
        (lambda: plain(weighting=rise), "strategy.weighting=.*must be one of absolute, incremental"),
        (lambda: entropic(annealing=worst), r"a function of \(weights, progress\)"),
        (lambda: entropic(weighting=Flat(), look_ahead="fresh"), "strategy.look_ahead=fresh: must be off"),
        (lambda: replace(load("astar"), transition_cost=worst), r"a function of \(before, after\)"),
        (lambda: replace(load("self_consistency"), tie_break=rise), r"a function of \(trajectory\)"),
    ],
)
def test_what_is_no_such_function_is_refused(make: Any, line: str | None) -> None:
    if line is None:  # as many arguments: nothing more can be known
        make()
        return
    with pytest.raises(ConfigError, match=line):
        make()


def test_such_a_strategy_pickles_prints_and_is_a_key() -> None:
    knobs: dict[str, Any] = {"resampling": first_slot, "selection": last_candidate, "aggregation": worst}
    strategy = plain(**knobs, tempering=hot, weighting=Incremental("min"))
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert {strategy: 1}[plain(**knobs, tempering=hot, weighting=Incremental("min"))] == 1
    assert strategy != plain()
    assert all(name in repr(strategy) for name in ("first_slot", "last_candidate", "worst", "hot"))


@pytest.mark.parametrize(
    ("knob", "value", "line"),
    [
        ("resampling", "tests.mine.first", "must be one of multinomial, systematic, .*, ssp$"),
        ("resampling", {"_target_": "os.getcwd"}, "is no knob: nothing is built of this key"),
        ("tempering", "os.getcwd", "must be above 0 and finite"),
        ("weighting", {"_target_": "strategies.parts.weighting.Incremental"}, "nothing is built of this key"),
    ],
)  # fmt: skip
def test_a_configuration_file_names_alone(knob: str, value: Any, line: str) -> None:
    node = {"_target_": "strategies.ParticleFilter", "num_particles": 4, "max_steps": 4}
    policy = {"_target_": "orchestrator.Sampling"}
    with pytest.raises(ConfigError, match=rf"^strategy.{knob}.*{line}"):
        build_node({**node, "sampling": policy, knob: value}, "strategy")
