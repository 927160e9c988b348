"""Speculative reasoning: its limits bit for bit, its law on an enumerable toy, its cost in closed form."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.config.naming import check_policies
from orchestrator.errors import ConfigError
from orchestrator.testing import FakeEngine, FakeVerifier
from orchestrator.types import DraftRecord, Sampling, Solution, Trajectory
from strategies import Speculative
from tests.laws import chi_square_excess
from tests.toy import BRANCHING, EVEN, Steps, Table, World, enumerate_paths, sampling, steps_of, uneven

ENDLESS = Table({}, {"a\n": 0.6, "b\n": 0.4})
THRESHOLD = 0.45


def world_of(draft: Table, base: Table, reward: Any = uneven, **verifier: Any) -> World:
    return World(
        base, policies={"draft": FakeEngine(draft)}, verifier=FakeVerifier(reward=reward, **verifier)
    )


def engines_of(world: World) -> tuple[FakeEngine, FakeEngine]:
    draft = world.policies["draft"]
    assert isinstance(draft, FakeEngine)
    return draft, world.engine


def both(**knobs: Any) -> Speculative:
    """As the policies are, at temperature 1, so that an enumeration holds."""
    return Speculative(**{"sampling": sampling(), "draft_sampling": sampling(), "max_steps": 7} | knobs)


def drafts_of(solution: Solution) -> list[DraftRecord]:
    return [record for record in solution.history if isinstance(record, DraftRecord)]


def written(trajectories: Any) -> list[Trajectory]:
    """What was written, whoever wrote it."""
    return [t.with_steps([replace(s, policy="engine") for s in t.steps]) for t in trajectories]


async def alone(language: Table, seed: int, num_paths: int) -> list[Trajectory]:
    """What a policy writes step by step, in a loop of its own."""
    session, paths = World(language).session(seed), []
    for i in range(num_paths):
        scope, path = session.fork(f"path {i}"), Trajectory()
        while path.active and len(path.steps) < 7:
            (path,) = await scope.generate([path], sampling())
        paths.append(path)
    return paths


@pytest.mark.parametrize("accept", [0.0, -1.0, 1.0001, 3.0])
async def test_at_its_limits_it_is_the_run_of_one_policy_bit_for_bit(accept: float) -> None:
    for seed in range(5):
        world = world_of(BRANCHING, EVEN)
        solution = await world.solve(both(num_paths=3, accept=accept), seed)
        draft, base = engines_of(world)
        writer, other = (draft, base) if accept <= 0 else (base, draft)
        assert written(solution.trajectories) == await alone(writer.language, seed, 3)
        assert other.requests == []
        assert solution.usage.generated_tokens == writer.usage.generated_tokens
        assert solution.usage.reward_calls == 0


def mixed(question: str, prefix: str) -> Mapping[str, float]:
    """P(x) = p_d(x) [r >= accept] + P_d(r < accept) p_b(x)."""
    before = tuple(prefix.splitlines(keepends=True))
    drafted = BRANCHING(question, prefix)
    accepted = {x: p for x, p in drafted.items() if uneven(question, (*before, x)) >= THRESHOLD}
    refused = 1 - math.fsum(accepted.values())
    rewritten = {x: refused * p for x, p in EVEN(question, prefix).items()}
    return {x: accepted.get(x, 0.0) + rewritten.get(x, 0.0) for x in accepted | rewritten}


async def test_a_path_has_the_law_of_the_mixture() -> None:
    law = enumerate_paths(mixed, 3)
    solution = await world_of(BRANCHING, EVEN).solve(both(num_paths=1000, accept=THRESHOLD, max_steps=3))
    counts: Counter[Steps] = Counter(steps_of(solution))
    assert chi_square_excess(counts, law) < 4
    base = enumerate_paths(EVEN, 3)
    impossible = sum(counts[path] for path in counts if path not in base)
    assert impossible > 20  # it is not the base's distribution, as that of speculative decoding would be


async def test_its_cost_is_the_closed_form() -> None:
    """c_d / c_b + j + (1 - a), with the acceptance a that the records state."""
    draft_price, base_price, judge_price = 1.0, 21.0, 3.0
    world = world_of(ENDLESS, ENDLESS, lambda _, steps: 0.9 if steps[-1] == "a\n" else 0.1)
    solution = await world.solve(both(num_paths=20, accept=0.5))
    draft, base = engines_of(world)
    num_steps = 20 * 7
    cost = (
        draft_price * draft.usage.generated_tokens
        + base_price * base.usage.generated_tokens
        + judge_price * 2 * solution.usage.reward_calls
    )
    of_the_base = base_price * 2 * num_steps
    records = drafts_of(solution)
    accepted = sum(record.accepted for record in records) / len(records)
    assert len(records) == num_steps
    assert abs(accepted - 0.6) < 0.2
    expected = draft_price / base_price + judge_price / base_price + (1 - accepted)
    assert math.isclose(cost / of_the_base, expected)


@pytest.mark.parametrize("level", [0.75, 0.9])
async def test_a_draft_whose_reward_is_the_level_is_accepted(level: float) -> None:
    solution = await world_of(ENDLESS, ENDLESS, lambda _, steps: level).solve(both(accept=level))
    assert [record.accepted for record in drafts_of(solution)] == [True] * 7


async def test_a_refused_draft_is_recorded_and_in_no_candidate() -> None:
    world = world_of(ENDLESS, Table({}, {"c\n": 1.0}), lambda _, steps: 0.8 if steps[-1] == "a\n" else 0.2)
    solution = await world.solve(both(num_paths=4, accept=0.5))
    for number, path in enumerate(solution.trajectories):
        own = [record for record in drafts_of(solution) if record.path == number]
        assert [record.step for record in own] == list(range(1, 8))
        assert [record.accepted for record in own] == [step.text == "a\n" for step in path.steps]
        assert [record.reward for record in own] == pytest.approx([0.8 if r.accepted else 0.2 for r in own])
    refused = sum(record.tokens for record in drafts_of(solution) if not record.accepted)
    kept = sum(path.num_tokens for path in solution.trajectories)
    assert solution.usage.generated_tokens == kept + refused
    assert refused > 0
    assert {s.policy for path in solution.trajectories for s in path.steps} == {"draft", "engine"}


async def test_a_reward_is_requested_once_for_each_draft() -> None:
    world = world_of(ENDLESS, ENDLESS)
    solution = await world.solve(both(accept=0.5))
    assert world.verifier is not None
    assert solution.usage.reward_calls == len(drafts_of(solution)) == 7
    locked = [(len(r.steps), r.num_locked) for r in world.verifier.requests]
    assert [num - 1 for num, _ in locked] == list(range(7))
    read = sum(num - known for num, known in locked)
    rewritten = sum(not record.accepted for record in drafts_of(solution)[:-1])
    assert read == 7 + rewritten  # a step that the base wrote is read with the next draft


@pytest.mark.parametrize(("accept", "accepts"), [(0.59, True), (0.61, False)])
async def test_the_base_may_judge_by_its_likelihood(accept: float, accepts: bool) -> None:
    """The geometric mean over two tokens: the letter has .36, and its newline is certain."""
    base = Table({}, {"a\n": 0.36, "b\n": 0.64})
    world = world_of(Table({}, {"a\n": 1.0}), base)
    solution = await world.solve(both(accept=accept, judge="likelihood", max_steps=3))
    assert [r.reward for r in drafts_of(solution)] == pytest.approx([0.6] * 3)
    assert {record.accepted for record in drafts_of(solution)} == {accepts}
    assert solution.usage.reward_calls == 0
    assert both(judge="likelihood").readouts == ()
    assert both(judge="likelihood", selection="argmax").readouts == both().readouts != ()


async def test_the_first_steps_may_be_the_bases() -> None:
    world = world_of(Table({}, {"a\n": 1.0}), Table({}, {"b\n": 1.0}))
    solution = await world.solve(both(num_paths=2, accept=0.0, first_base_steps=3, max_steps=5))
    assert steps_of(solution) == [("b\n", "b\n", "b\n", "a\n", "a\n")] * 2
    assert [record.step for record in drafts_of(solution)] == [4, 5] * 2


@pytest.mark.parametrize(("repeats", "num_steps"), [(2, 3), (3, 4), (None, 7)])
async def test_a_path_that_repeats_itself_ends(repeats: int | None, num_steps: int) -> None:
    same = Table({"": {"b\n": 1.0}}, {"a\n": 1.0})
    solution = await world_of(same, same).solve(both(accept=0.0, repeats=repeats))
    assert len(solution.trajectories[0].steps) == num_steps
    turns = Table({"a\n": {"b\n": 1.0}, "a\nb\n": {"a\n": 1.0}, "a\nb\na\n": {"b\n": 1.0}}, {"a\n": 1.0})
    solution = await world_of(turns, turns).solve(both(accept=0.0, repeats=repeats, max_steps=4))
    assert len(solution.trajectories[0].steps) == 4


async def test_a_path_keeps_its_token_budget() -> None:
    for accept in (0.0, 0.5, 2.0):
        solution = await world_of(ENDLESS, ENDLESS).solve(both(num_paths=4, accept=accept, max_tokens=5))
        assert {path.num_tokens for path in solution.trajectories} == {5}


async def test_fewer_paths_are_the_first_of_more() -> None:
    few, more = [await world_of(BRANCHING, EVEN).solve(both(num_paths=n, accept=0.4)) for n in (3, 8)]
    assert more.trajectories[:3] == few.trajectories


@pytest.mark.parametrize("selection", ["argmax", "weighted_majority"])
async def test_the_best_path_is_chosen_by_rewards_of_whole_paths(selection: Any) -> None:
    for seed in range(4):
        world = world_of(EVEN, EVEN)
        solution = await world.solve(both(num_paths=6, accept=0.6, selection=selection), seed)
        assert all(path.steps[-1].reward is not None for path in solution.trajectories)
        if selection == "argmax":
            assert solution.answer_index == max(range(6), key=lambda i: (solution.log_weights[i], -i))


async def test_the_main_policy_may_draft_for_itself() -> None:
    world = World(EVEN)
    solution = await world.solve(both(num_paths=200, draft="engine", accept=0.5))
    assert {record.accepted for record in drafts_of(solution)} == {True, False}
    seeds = [request.seed for request in world.engine.requests]
    assert len(seeds) == len(set(seeds))


def test_it_names_the_policies_that_it_asks() -> None:
    assert set(both(draft="small").policies) == {"small", "engine"}
    assert both(accept=1.5).policies == ("engine",)
    with pytest.raises(ConfigError, match=r"strategy\.policies=draft: .*\+engine@policies\.draft=NAME"):
        check_policies(both(), ["engine"])
    check_policies(both(), ["engine", "draft"])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"repeats": 1}, "strategy.repeats=1: must be 2 or more"),
        ({"draft": ""}, "strategy.draft="),
        ({"judge": "coin"}, "strategy.judge=coin"),
        ({"sampling": Sampling(max_tokens=0)}, "max_tokens"),
    ],
)
def test_settings_that_do_not_fit(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Speculative(**knobs)
