"""What every strategy promises, whatever its method; a new conf/strategy/*.yaml is held to it at once."""

from __future__ import annotations

import asyncio
import math
import pickle
import time
from dataclasses import fields
from typing import Any

import pytest

from orchestrator.errors import EngineError, VerifierError
from orchestrator.schema import converted, hints_of
from orchestrator.search.strategy import Budgeted
from orchestrator.testing import FakeEngine, RandomLatency
from orchestrator.types import Solution, Usage
from tests.laws import assert_ledger, assert_prefers_finished, assert_sound
from tests.toy import STRATEGIES, TASK, Table, World, knobs_of, load

pytestmark = pytest.mark.parametrize("name", STRATEGIES)

ARRIVAL_DEPENDENT = frozenset({"particle_cascade"})
"""Methods that wait for nobody depend on the order of arrival by nature, and say so."""
INDEPENDENT = frozenset({"best_of_n", "self_consistency", "hex", "hex_weighted"})
"""Methods whose candidates are independent samples."""


async def test_the_same_seed_gives_the_same_solution(name: str) -> None:
    first, again, other = [await World().solve(load(name), seed) for seed in (1, 1, 2)]
    assert first == again
    assert_sound(first)
    assert_prefers_finished(first)
    if name != "greedy":
        assert first != other


async def test_the_order_of_arrival_changes_nothing(name: str) -> None:
    if name in ARRIVAL_DEPENDENT:
        pytest.skip("waits for nobody, so it depends on the order of arrival by nature")
    solutions = []
    for latency_seed in range(3):
        world = World()
        world.engine.latency = RandomLatency(latency_seed, most=0.002)
        solutions.append(await world.solve(load(name), 5))
    assert solutions[0] == solutions[1] == solutions[2] == await World().solve(load(name), 5)


async def test_problems_side_by_side_do_not_disturb_each_other(name: str) -> None:
    if name in ARRIVAL_DEPENDENT:
        pytest.skip("waits for nobody, so it depends on the order of arrival by nature")
    world = World()
    together = await asyncio.gather(*(world.solve(load(name), seed) for seed in range(4)))
    assert list(together) == [await World().solve(load(name), seed) for seed in range(4)]


async def test_texts_that_go_on_use_every_number_once(name: str) -> None:
    """Where a seed is a whole text's, none is drawn from twice in one place, and a run is what it was."""
    worlds = [World(engine=FakeEngine(sampler="stream", latency=RandomLatency(i, 0.001))) for i in range(2)]
    first, again = [await world.solve(load(name, 8), 3) for world in worlds]
    drawn = worlds[0].engine.drawn
    assert len(drawn) == len(set(drawn))
    assert_sound(first)
    if name not in ARRIVAL_DEPENDENT:
        assert first == again
        assert sorted(drawn) == sorted(worlds[1].engine.drawn)


async def test_it_and_its_solution_pickle(name: str) -> None:
    strategy = load(name)
    assert pickle.loads(pickle.dumps(strategy)) == strategy
    assert hash(strategy) == hash(load(name))
    solution = await World().solve(strategy)
    assert pickle.loads(pickle.dumps(solution)) == solution


def test_its_knobs_have_plain_types(name: str) -> None:
    """Values from YAML are checked against the annotations before anything starts."""
    strategy: Any = load(name)
    hints = hints_of(type(strategy))
    for knob in fields(strategy):
        value = getattr(strategy, knob.name)
        assert converted(f"strategy.{knob.name}", value, hints[knob.name]) == value


@pytest.mark.parametrize("budget", [1, 2, 5, 8])
async def test_ledger(name: str, budget: int) -> None:
    """The ledger is what the fakes handed out, to the token."""
    world = World()
    solution = await world.solve(load(name, budget))
    assert world.verifier is not None
    assert_ledger(solution.usage, world.engine.usage, world.verifier.usage)
    assert solution.usage.reward_calls == len(world.verifier.requests)
    assert_sound(solution)


@pytest.mark.parametrize("budget", [1, 2, 5, 8])
async def test_budget(name: str, budget: int) -> None:
    """``budget=N`` is at most N full-length samples' worth of generation, and N=1 costs no more than one."""
    endless = World(Table({}, {"a\n": 0.6, "b\n": 0.4}))
    num_tokens = 2 * TASK["max_steps"]  # of a full-length sample, whether drawn at once or by steps
    solution = await endless.solve(load(name, budget, task={"max_tokens": num_tokens}))
    assert num_tokens <= solution.usage.generated_tokens <= budget * num_tokens


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 16, 17, 33, 40, 80])
async def test_token_limit(name: str, limit: int) -> None:
    for seed in range(3):
        world = World()
        session = world.session(seed, generated_tokens=limit)
        solution = await load(name).solve(session)
        assert solution.usage.generated_tokens == world.engine.usage.generated_tokens <= limit
        assert_sound(solution)
        assert_prefers_finished(solution)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 15])
async def test_reward_limit(name: str, limit: int) -> None:
    for seed in range(3):
        world = World()
        solution = await load(name).solve(world.session(seed, reward_calls=limit))
        assert world.verifier is not None
        assert solution.usage.reward_calls == len(world.verifier.requests) <= limit
        assert_sound(solution)
        assert_prefers_finished(solution)


@pytest.mark.parametrize("slow", ["engine", "verifier"])
async def test_time_limit(name: str, slow: str) -> None:
    world = World()
    assert world.verifier is not None
    if slow == "engine":
        world.engine.latency = lambda request, completion: 30.0
    else:
        world.verifier.latency = lambda request: 30.0
    session, begun = world.session(0, seconds=0.1), time.monotonic()
    solution = await load(name).solve(session)
    assert time.monotonic() - begun < 5
    # A method that asks no verifier has no reason to stop, unless a busy machine takes the time away.
    assert session.stopped_by == "seconds" or (slow == "verifier" and not world.verifier.requests)
    assert_sound(solution)


@pytest.mark.parametrize("reward", [0.0, 0.5, 1.0])
async def test_equal_rewards(name: str, reward: float) -> None:
    solution = await World(reward=lambda question, steps: reward).solve(load(name))
    assert_sound(solution)
    assert_prefers_finished(solution)
    assert solution.answer_index is not None


async def test_a_reward_that_is_no_number_is_an_error(name: str) -> None:
    world = World(reward=lambda question, steps: math.nan)
    assert world.verifier is not None
    try:
        await world.solve(load(name))
    except VerifierError:
        return
    assert not world.verifier.requests  # a method that asks for no reward cannot meet a bad one


async def test_a_failed_request_ends_the_problem(name: str) -> None:
    world = World()
    world.engine.fail_on = "abca"
    with pytest.raises(EngineError, match="fails on 'abca'"):
        await world.solve(load(name))


@pytest.mark.parametrize(
    "language",
    [
        Table({}, {"": 1.0}),  # an empty step: end of text at once
        Table({}, {"=1\n": 1.0}),  # the answer at once
        Table({}, {"a\n": 0.5, "b\n": 0.5}),  # no candidate ever finishes
        Table({}, {"\n": 0.7, "": 0.3}),  # steps of nothing but the delimiter
        Table({}, {"x" * 15 + "\n": 0.5, "=1\n": 0.5}),  # a step exactly at the token limit
        Table({}, {"x" * 40 + "\n": 0.7, "=1\n": 0.3}),  # a step cut off by it
    ],
    ids=["empty", "answer", "endless", "blank", "at-limit", "cut"],
)
@pytest.mark.parametrize("budget", [1, 4])
async def test_odd_languages(name: str, language: Any, budget: int) -> None:
    world = World(language)
    solution = await world.solve(load(name, budget))
    assert_sound(solution)
    assert_prefers_finished(solution)
    assert solution.answer_index is not None
    assert all(len(t.steps) <= TASK["max_tokens"] for t in solution.trajectories)
    assert world.verifier is not None
    assert_ledger(solution.usage, world.engine.usage, world.verifier.usage)


async def test_a_verifier_that_reads_the_whole(name: str) -> None:
    world = World()
    assert world.verifier is not None
    world.verifier.readout = "whole"
    assert_sound(await world.solve(load(name)))


async def test_nothing_is_asked_about_a_trajectory_that_has_ended(name: str) -> None:
    world = World()
    await world.solve(load(name, 8))
    assert world.verifier is not None
    for request in world.engine.requests:
        text = "".join(map(chr, request.token_ids))
        assert "=" not in text and "\0" not in text


async def test_seeds_are_never_shared(name: str) -> None:
    world = World()
    await world.solve(load(name, 8))
    seeds = [request.seed for request in world.engine.requests]
    assert len(set(seeds)) == len(seeds)


async def test_an_empty_ledger_is_never_reported(name: str) -> None:
    solution: Solution = await World().solve(load(name))
    assert solution.usage != Usage()


def test_it_says_which_knob_the_budget_sets(name: str) -> None:
    """And its file sets that one alone, unless the budget is not read."""
    strategy = load(name)
    assert isinstance(strategy, Budgeted)
    assert [k for k, v in knobs_of(name).items() if v == "${budget}"] == [
        knob for knob in (strategy.budget_knob,) if knob is not None
    ]
    assert strategy.independent_samples == (name in INDEPENDENT)
