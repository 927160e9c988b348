"""A*-decoding against a brute-force best-first search over the same tree, and whole trees kept as JSON.

``UPDATE_GOLDEN=1 pytest tests/strategies/test_astar.py`` writes the golden trees anew.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion
from orchestrator.testing import Copying, RewardFunction
from orchestrator.types import NodeRecord, Solution
from strategies.astar import AStar
from tests.toy import (
    BRANCHING,
    EVEN,
    Steps,
    Table,
    World,
    enumerate_paths,
    sampling,
    steps_of,
    uneven,
    uneven_as,
)

GOLDEN = Path(__file__).parent / "golden"


def astar(num_samples: int = 8, max_steps: int = 5, **knobs: Any) -> AStar:
    return AStar(
        num_samples,
        max_steps,
        sampling(),
        **({"branching": 4, "wave": None, "transition_cost": "increase", "aggregation": "last"} | knobs),
    )


def tree_of(solution: Solution) -> list[NodeRecord]:
    return [r for r in solution.history if isinstance(r, NodeRecord)]


def path_of(nodes: Sequence[NodeRecord], node: NodeRecord) -> list[NodeRecord]:
    """From the first step to the node; the root has none."""
    path = []
    while node.parent is not None:
        path.append(node)
        node = nodes[node.parent]
    return path[::-1]


def brute_key(nodes: Sequence[NodeRecord], node: NodeRecord, cost: str) -> tuple[float, float, int, int]:
    """(f, h, -depth, age), with f summed along the path from rewards alone."""
    h = [1 - (n.reward or 0.0) for n in path_of(nodes, node)]
    if not h:
        return (0.0, 0.0, 0, 0)
    steps = [b - a if cost == "increase" else a - b for a, b in pairwise(h)]
    return (sum(max(0.0, c) for c in steps) + h[-1], h[-1], -len(h), node.node)


def ended(node: NodeRecord) -> bool:
    return "=" in node.text or not node.text.endswith("\n")


def brute_rank(
    path: Steps, cost: str, penalty: float = 0.0, reward: RewardFunction = uneven, least: bool = False
) -> tuple[float, float, int]:
    """(f + penalty, h, -depth) from rewards alone: the last one, or the least of all."""
    rewards = [reward("", path[: t + 1]) for t in range(len(path))]
    h = [1 - r for r in (accumulate(rewards, min) if least else rewards)] or [0.0]
    steps = [b - a if cost == "increase" else a - b for a, b in pairwise(h)]
    return (round(sum(max(0.0, c) for c in steps) + h[-1] + penalty, 9), h[-1], -len(path))


def ended_path(path: Steps) -> bool:
    return bool(path) and ("=" in path[-1] or not path[-1].endswith("\n"))


def recorded(world: World) -> list[tuple[Steps, list[Steps]]]:
    """Every wave that will be drawn: the state, and its children."""
    waves: list[tuple[Steps, list[Steps]]] = []
    generate = world.engine.generate

    async def noted(requests: Any) -> Any:
        replies = await generate(requests)
        text = "".join(map(chr, requests[0].token_ids))
        path = tuple(text.splitlines(keepends=True))
        steps = [reply.steps[0] for reply in replies if isinstance(reply, Completion)]
        waves.append((path, [(*path, step.text) for step in steps]))
        return replies

    world.engine.generate = noted  # type: ignore[method-assign]
    return waves


def brute_force(nodes: Sequence[NodeRecord], cost: str, max_steps: int) -> list[int]:
    """The order in which best-first search closes nodes of this tree, by scanning all open ones each time."""
    order, opened = [], [0]
    while opened:
        best = min(opened, key=lambda i: brute_key(nodes, nodes[i], cost))
        opened.remove(best)
        order.append(best)
        if best and ended(nodes[best]):
            break
        children = [n for n in nodes if n.parent == best]
        if not children:
            return order[:-1]  # the budget ended here
        opened += [n.node for n in children if ended(n) or len(path_of(nodes, n)) < max_steps]
    return order


@pytest.mark.parametrize("merge_equal", [True, False])
@pytest.mark.parametrize("cost", ["increase", "decrease"])
@pytest.mark.parametrize("language", [BRANCHING, EVEN], ids=["branching", "even"])
async def test_nodes_are_closed_in_brute_force_order(cost: Any, language: Any, merge_equal: bool) -> None:
    for seed in range(30):
        strategy = astar(transition_cost=cost, branching=3, merge_equal=merge_equal)
        solution = await World(language, uneven).solve(strategy, seed)
        nodes = tree_of(solution)
        closed = sorted((n for n in nodes if n.closed is not None), key=lambda n: n.closed or 0)
        assert [n.node for n in closed] == brute_force(nodes, cost, 5)
        assert solution.answer_index == 0
        assert steps_of(solution)[0] == tuple(n.text for n in path_of(nodes, closed[-1]))
        for node in nodes[1:]:
            key = brute_key(nodes, node, cost)
            assert node.cost + node.heuristic == pytest.approx(key[0])
            assert node.heuristic == pytest.approx(key[1])


async def test_f_never_falls_along_a_path_with_a_consistent_cost() -> None:
    for seed in range(10):
        solution = await World(BRANCHING, uneven).solve(astar(transition_cost="decrease"), seed)
        nodes = tree_of(solution)
        for node in nodes[1:]:
            parent = nodes[node.parent or 0]
            if parent.parent is not None:
                assert node.cost + node.heuristic >= parent.cost + parent.heuristic - 1e-12


UNIFORM = Table({}, {"a\n": 0.4, "b\n": 0.3, "=1\n": 0.3})
"""Goals at every depth; 20 draws miss a child of a state once in 1,000."""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("cost", "how", "least", "most"),
    [("decrease", "last", 50, 50), ("increase", "last", 0, 30), ("decrease", "min", 50, 50)],
)
async def test_the_first_goal_has_the_least_f_of_all_with_the_consistent_cost(
    cost: Any, how: Any, least: int, most: int
) -> None:
    """Over the goals of the whole enumerated tree, whose rewards differ from seed to seed."""
    goals = [path for path in enumerate_paths(UNIFORM, 4) if ended_path(path)]
    num_optimal = 0
    for seed in range(50):
        reward = uneven_as(str(seed))
        strategy = astar(100, 4, branching=20, transition_cost=cost, aggregation=how)
        solution = await World(UNIFORM, reward).solve(strategy, seed)
        totals = {path: brute_rank(path, cost, reward=reward, least=how == "min")[0] for path in goals}
        num_optimal += totals[steps_of(solution)[0]] <= min(totals.values()) + 1e-12
    assert least <= num_optimal <= most


@pytest.mark.parametrize(
    ("cost", "how", "num_exact", "num_optimal"),
    [("decrease", "last", 50, 44), ("decrease", "min", 50, 46), ("increase", "last", 22, 20)],
)
async def test_with_waves_only_what_expanded_states_have_not_drawn_leads_to_a_better_goal(
    cost: Any, how: Any, num_exact: int, num_optimal: int
) -> None:
    """With the shipped waves. Of the goals that were drawn it has the least f, at either cost."""
    goals = [path for path in enumerate_paths(UNIFORM, 4) if ended_path(path)]
    found = Counter[str]()
    for seed in range(50):
        reward = uneven_as(str(seed))
        strategy = AStar(100, 4, sampling(), transition_cost=cost, aggregation=how)
        solution = await World(UNIFORM, reward).solve(strategy, seed)
        totals = {path: brute_rank(path, cost, reward=reward, least=how == "min")[0] for path in goals}
        nodes = tree_of(solution)
        tree = {tuple(n.text for n in path_of(nodes, node)): node for node in nodes}
        better = [path for path in goals if totals[path] < totals[steps_of(solution)[0]]]
        assert not tree.keys() & better
        drawn = [max((path[:t] for t in range(4) if path[:t] in tree), key=len) for path in better]
        found["exact"] += all(tree[state].closed is not None for state in drawn)
        found["optimal"] += not better
    assert found == {"exact": num_exact, "optimal": num_optimal}


async def test_the_first_step_costs_nothing() -> None:
    solution = await World(BRANCHING, uneven).solve(astar())
    assert all(n.cost == 0 for n in tree_of(solution) if n.parent == 0)


@pytest.mark.parametrize(
    ("name", "knobs"),
    [
        ("increase", {}),
        ("decrease", {"transition_cost": "decrease"}),
        ("wide", {"width": 2, "branching": 2, "num_goals": 3}),
        ("copies", {"merge_equal": False}),
        ("out_of_budget", {"num_samples": 2, "branching": 4}),
        ("waves", {"wave": 2, "branching": 6}),
    ],
)
async def test_golden_trees(name: str, knobs: dict[str, Any]) -> None:
    solution = await World().solve(astar(**({"num_samples": 6} | knobs)), 11)
    tree = [
        {k: round(v, 9) if isinstance(v, float) else v for k, v in asdict(n).items()}
        for n in tree_of(solution)
    ]
    shown = {"answer": solution.trajectories[solution.answer_index or 0].text, "nodes": tree}
    path = GOLDEN / f"astar_{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(shown, indent=1) + "\n")
    assert shown == json.loads(path.read_text())


@pytest.mark.parametrize(("num_samples", "branching"), [(1, 4), (2, 4), (2, 3), (4, 16)])
async def test_the_budget_and_what_is_kept_back(num_samples: int, branching: int) -> None:
    """No goal within reach of the search: it spends (N - 1) max_steps, then finishes one by max_steps."""
    world = World(Copying(stop=0.0), lambda q, steps: 0.9 - 0.1 * len(steps))  # breadth first
    solution = await world.solve(astar(num_samples, 5, branching=branching))
    searched = (num_samples - 1) * 5
    assert searched < len(world.engine.requests) <= num_samples * 5
    assert len(solution.trajectories[0].steps) == 5


async def test_one_sample_is_one_sample() -> None:
    world = World(EVEN, uneven)
    solution = await world.solve(astar(1, 3))
    assert len(world.engine.requests) == 3
    assert solution.trajectories[0].finished


async def test_the_best_open_trajectory_is_finished_when_the_budget_ends() -> None:
    world = World()
    solution = await world.solve(astar(2, 5, branching=5), 3)
    nodes = tree_of(solution)
    first = max((n for n in nodes if n.parent == 0), key=lambda n: n.reward or 0)
    assert solution.trajectories[0].finished
    assert solution.trajectories[0].steps[0].text == first.text


async def test_several_goals_vote() -> None:
    """Two in three say 1, and 2 looks a little better: one goal takes 2, many goals vote for 1."""
    language = Table({}, {"=1\n": 0.7, "=2\n": 0.3})
    world = World(language, lambda q, steps: 0.6 if steps == ("=2\n",) else 0.5)
    one = await world.solve(astar(8, 2, branching=12), 1)
    many = await world.solve(astar(8, 2, branching=12, num_goals=12, merge_equal=False), 1)
    assert one.answer_index == 0
    assert steps_of(one)[0] == ("=2\n",)
    assert many.answer_index is not None
    assert steps_of(many)[many.answer_index] == ("=1\n",)
    assert len(many.trajectories) == 12


async def test_ended_trajectories_take_the_place_of_missing_goals_in_the_vote() -> None:
    """Six draws of the root are the budget, and no goal is expanded: all six vote, or only the best."""
    world = World(Table({}, {"=1\n": 0.6, "=2\n": 0.4}), lambda q, s: 0.6 if s == ("=2\n",) else 0.5)
    num_apart = 0
    for seed in range(10):
        answers = []
        for num_goals in (1, 6):
            strategy = astar(4, 2, wave=2, merge_equal=False, num_goals=num_goals)
            solution = await world.solve(strategy, seed)
            paths = steps_of(solution)
            answers.append(paths[solution.answer_index or 0])
        assert len(paths) == 6
        assert answers == [max(paths), ("=1\n",) if paths.count(("=1\n",)) > 3 else ("=2\n",)]
        num_apart += answers[0] != answers[1]
    assert num_apart > 2


@pytest.mark.parametrize("merge_equal", [True, False])
async def test_an_equal_state_is_rewarded_and_expanded_once(merge_equal: bool) -> None:
    """Two first steps are all there is: twelve children are two states, or twelve."""
    world = World(Table({}, {"a\n": 0.5, "b\n": 0.5}), uneven)
    solution = await world.solve(astar(4, 4, branching=12, merge_equal=merge_equal))
    first = [n.text for n in tree_of(solution) if n.parent == 0]
    assert len(first) == (2 if merge_equal else 12)
    assert (solution.usage.reward_calls < len(world.engine.requests)) is merge_equal


@pytest.mark.parametrize("reopen_cost", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("cost", ["increase", "decrease"])
async def test_a_state_returns_at_f_plus_what_its_waves_cost(cost: Any, reopen_cost: float) -> None:
    """Each wave is of the state of least f + k reopen_cost, by scanning all that were found so far."""
    num_again = 0
    for seed in range(20):
        world = World(BRANCHING, uneven)
        drawn = recorded(world)
        await world.solve(astar(5, 4, wave=2, reopen_cost=reopen_cost, transition_cost=cost), seed)
        states: list[Steps] = [()]
        num_waves = Counter[Steps]()
        for path, children in drawn[: 4 * 4 // 2]:
            ranks = {s: brute_rank(s, cost, num_waves[s] * reopen_cost) for s in states}
            offered = [s for s in states if ended_path(s) or len(s) < 4]
            assert path == min(offered, key=lambda s: (ranks[s], states.index(s)))
            num_again += num_waves[path] > 0
            num_waves[path] += 1
            states += [c for c in dict.fromkeys(children) if c not in states]
    assert num_again > 10


@pytest.mark.parametrize("knobs", [{"wave": 2}, {"wave": 1}, {"wave": None}, {"wave": 2, "branching": 1}])
async def test_no_state_is_closed_for_good_while_budget_is_left(knobs: dict[str, Any]) -> None:
    """One continuation is all there is, and it never ends: every step of the budget is drawn all the same."""
    world = World(Table({}, {"a\n": 1.0}), uneven)
    solution = await world.solve(astar(20, 5, **({"branching": 3} | knobs)))
    assert len({n.text for n in tree_of(solution)}) == 2
    assert 19 * 5 <= len(world.engine.requests) <= 20 * 5


async def test_more_budget_finds_a_rare_step() -> None:
    """One first step in ten leads to an answer, and the others look bad: with budget left it is found."""
    language = Table({"": {"a\n": 0.9, "b\n": 0.1}, "b\n": {"=2\n": 1.0}}, {"a\n": 1.0})
    world = World(language, lambda q, steps: 0.95 if steps[0] == "b\n" else 0.1 / len(steps))
    solutions = [await world.solve(astar(40, 3, wave=2, reopen_cost=0.02), seed) for seed in range(10)]
    assert [s.trajectories[0].text for s in solutions].count("b\n=2\n") >= 9


async def test_a_bad_start_is_drawn_again_before_it_is_finished() -> None:
    """Nothing is known of the root, so that its f is 0: a wrong first step is no reason to follow it."""
    language = Table({"": {"a\n": 0.8, "b\n": 0.2}, "b\n": {"=2\n": 1.0}}, {"=1\n": 1.0})
    world = World(language, lambda q, steps: 0.95 if steps[0] == "b\n" else 0.01)
    solutions = [await world.solve(astar(16, 3, wave=1), seed) for seed in range(10)]
    assert [s.trajectories[0].text for s in solutions].count("b\n=2\n") >= 9


async def test_waves_hold_no_state_twice() -> None:
    """Every child is worse than its parent, so nodes are drawn again and again."""
    for seed in range(10):
        world = World(BRANCHING, lambda q, steps: 0.9 - 0.1 * len(steps))
        solution = await world.solve(astar(16, 4, wave=2), seed)
        nodes = tree_of(solution)
        states = [(n.parent, n.text) for n in nodes]
        assert len(set(states)) == len(states)
        closed = [n.closed for n in nodes if n.closed is not None]
        assert sorted(closed) == list(range(len(closed)))


async def test_the_published_reading_draws_as_many_at_once_as_the_budget_has() -> None:
    world = World(EVEN, uneven)
    await world.solve(astar(7, 3, wave=None, branching=None))
    asked = Counter(r.token_ids for r in world.engine.requests)
    assert set(asked.values()) <= {7, 18 % 7}
    assert asked[()] == 7


async def test_waves_that_return_last_are_all_children_at_once() -> None:
    for seed in range(10):
        at_once, one_wave = World(EVEN, uneven), World(EVEN, uneven)
        expected = await at_once.solve(astar(branching=4), seed)
        last = astar(branching=4, wave=4, reopen_cost=1e9)  # a state that was drawn comes after all others
        assert await one_wave.solve(last, seed) == expected


async def test_width_asks_for_more_at_once() -> None:
    for width, expected in ((1, 3), (2, 6)):
        world = World(Table({}, {"a\n": 0.5, "b\n": 0.5}), uneven)
        sizes: list[int] = []
        generate = world.engine.generate

        async def counted(requests: Any, generate: Any = generate, sizes: list[int] = sizes) -> Any:
            sizes.append(len(requests))
            return await generate(requests)

        world.engine.generate = counted  # type: ignore[method-assign]
        await world.solve(astar(8, 6, width=width, branching=3))
        assert max(sizes) == expected


async def test_a_goal_waits_for_the_children_of_its_round() -> None:
    """With room for both, the better open node goes first, and its child overtakes the goal behind it."""
    language = Table({"": {"a\n": 0.2, "=1\n": 0.8}}, {"=2\n": 1.0})
    rewards = {("a\n",): 0.9, ("=1\n",): 0.8, ("a\n", "=2\n"): 0.95}
    num_seen = 0
    for seed in range(20):
        world = World(language, lambda q, steps: rewards[steps])
        solution = await world.solve(astar(8, 3, width=4, branching=4), seed)
        first = [n.text for n in tree_of(solution) if n.parent == 0]
        if first.count("a\n") == 1:
            num_seen += 1
            assert steps_of(solution)[0] == ("a\n", "=2\n")
    assert num_seen > 3


async def test_an_ended_trajectory_without_a_reward_comes_last() -> None:
    """The limit withholds two rewards of three: what is known to be poor goes before what is unknown."""
    world = World(Table({}, {"=1\n": 0.5, "=2\n": 0.5}), lambda q, steps: 0.2)
    solution = await world.solve(astar(4, 3, branching=3, merge_equal=False), reward_calls=1)
    assert [t.reward is not None for t in solution.trajectories] == [True, False, False]
    assert solution.log_weights == pytest.approx([-0.8, -1.0, -1.0])


@pytest.mark.parametrize("wave", [None, 1, 2])
async def test_dead_ends_are_left_alone(wave: int | None) -> None:
    """A truncated child can be neither expanded nor an answer; the search goes round it, waves or not."""
    language = Table({"": {"too long to be a step\n": 0.8, "a\n": 0.2}}, {"=1\n": 1.0})
    strategy = AStar(6, 3, sampling(max_tokens=4), branching=10, wave=wave)
    solution = await World(language, lambda q, s: 0.9 if s[-1].startswith("too") else 0.5).solve(strategy)
    assert steps_of(solution)[0] == ("a\n", "=1\n")
    closed = [n.text for n in tree_of(solution) if n.closed is not None]
    assert "too " not in closed


@pytest.mark.parametrize(
    ("knobs", "key"),
    [
        ({"branching": 0}, "strategy.branching"),
        ({"wave": 0}, "strategy.wave"),
        ({"reopen_cost": -0.1}, "strategy.reopen_cost"),
        ({"reopen_cost": None}, "strategy.reopen_cost"),  # as a run of before is resumed
        ({"width": 0}, "strategy.width"),
        ({"num_goals": 0}, "strategy.num_goals"),
        ({"transition_cost": "up"}, "strategy.transition_cost"),
        ({"aggregation": "max"}, "strategy.aggregation"),
    ],
)
def test_a_bad_knob_is_named(knobs: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        astar(**knobs)
    assert error.value.key == key
