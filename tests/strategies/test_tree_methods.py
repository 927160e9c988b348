"""Beam search, DVTS, tree of thoughts and REBASE: who survives, what is shared, what is paid for."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.types import Trajectory
from strategies.beam_search import BeamSearch
from strategies.dvts import DiverseTreeSearch
from strategies.parts.beams import shared, split_slots, survivors
from strategies.rebase import Rebase, by_remainder, rounded_up
from strategies.tree_of_thoughts import TreeOfThoughts
from tests.toy import BRANCHING, Table, World, records_of, sampling, steps_of, trajectory_of, uneven

ENDLESS = Table({}, {"a\n": 0.5, "b\n": 0.3, "c\n": 0.2})


def particles(*paths: tuple[str, ...]) -> list[Trajectory]:
    return [trajectory_of(path, uneven) for path in paths]


A, B, C, DONE, DONE_TOO = particles(("a\n",), ("b\n",), ("c\n",), ("=1\n",), ("=2\n",))


@pytest.mark.parametrize(
    ("slots", "scores", "keep", "kept"),
    [
        pytest.param([A, B, C, DONE], [0.1, 0.4, 0.3, 0.2], 2, [1, 2], id="the best, best first"),
        pytest.param([A, B, A, C], [0.4, 0.1, 0.4, 0.3], 2, [0, 3], id="equal ones count once"),
        pytest.param([A, B, C], [0.2, 0.2, 0.2], 2, [0, 1], id="a tie goes to the first"),
        pytest.param([A, B], [0.0, 0.0], 5, [0, 1], id="fewer than asked for"),
    ],
)
def test_survivors(slots: Any, scores: list[float], keep: int, kept: list[int]) -> None:
    assert survivors(slots, scores, range(len(slots)), keep) == kept


@pytest.mark.parametrize(
    ("slots", "kept", "num_slots", "ancestors"),
    [
        pytest.param([A, B], [1, 0], 4, [1, 1, 0, 0], id="evenly"),
        pytest.param([A, B], [1, 0], 5, [1, 1, 1, 0, 0], id="the best takes what does not divide"),
        pytest.param([DONE, B], [0, 1], 4, [0, 1, 1, 1], id="an ended one has one slot"),
        pytest.param([DONE, DONE_TOO], [1, 0], 3, [1, 0, 1], id="only ended ones fill up"),
        pytest.param([DONE, B], [0, 1], 1, [1], id="one slot: it goes on"),
    ],
)
def test_shared(slots: Any, kept: list[int], num_slots: int, ancestors: list[int]) -> None:
    assert shared(slots, kept, num_slots) == ancestors


def test_split_slots() -> None:
    assert split_slots(8, 2) == [range(4), range(4, 8)]
    assert split_slots(7, 3) == [range(3), range(3, 5), range(5, 7)]


async def test_beams_are_the_best_distinct_children_each_step() -> None:
    for seed in range(10):
        world = World(ENDLESS, uneven)
        solution = await world.solve(BeamSearch(8, 3, sampling(), branching=4), seed)
        prefixes = ["".join(map(chr, r.token_ids)) for r in world.engine.requests]
        children: dict[str, float] = {}
        assert world.verifier is not None
        for request in world.verifier.requests[:8]:
            children["".join(request.steps)] = uneven("", request.steps)
        best = sorted(children, key=lambda text: -children[text])[:2]
        assert prefixes[8:16] == [text for text in best for _ in range(8 // len(best))]
        assert len(set(steps_of(solution))) == len(solution.trajectories)
        assert len(world.engine.requests) == 24


async def test_a_look_ahead_is_scored_and_decides() -> None:
    """``a`` looks good now and is worthless one step on; ``b`` is the other way round."""
    language = Table({"": {"a\n": 0.5, "b\n": 0.5}}, {"c\n": 0.9, "=1\n": 0.1})
    rewards = {("a\n",): 0.9, ("b\n",): 0.2, ("a\n", "c\n"): 0.1, ("b\n", "c\n"): 0.8}
    for look_ahead, start in ((0, "a\n"), (1, "b\n")):
        world = World(language, lambda q, steps: rewards.get(steps, 0.5))
        await world.solve(BeamSearch(6, 2, sampling(), branching=6, look_ahead=look_ahead))
        assert "".join(map(chr, world.engine.requests[-1].token_ids)) == start
        # Six children, then six from the best; looking ahead asks for six more, greedily, and scores them.
        assert len(world.engine.requests) == 12 + 6 * look_ahead
        assert world.verifier is not None
        assert len(world.verifier.requests) == 12 + 6 * look_ahead
        assert sum(r.params == sampling(temperature=0.0) for r in world.engine.requests) == 6 * look_ahead


async def test_nothing_is_looked_at_beyond_the_last_step() -> None:
    world = World(ENDLESS, uneven)
    await world.solve(BeamSearch(4, 2, sampling(), branching=2, look_ahead=5))
    assert len(world.engine.requests) == 4 + 4 * 1 + 4


async def test_subtrees_do_not_compete() -> None:
    """Each subtree's slots descend from that subtree, and one beam survives in each."""
    for seed in range(10):
        strategy = DiverseTreeSearch(9, 3, sampling(), branching=3)
        solution = await World(ENDLESS, uneven).solve(strategy, seed)
        for record in records_of(solution)[:-1]:
            for slots in split_slots(9, 3):
                assert len({record.ancestors[i] for i in slots}) == 1
                assert record.ancestors[slots[0]] in slots


async def test_dvts_with_one_subtree_is_beam_search_with_one_beam() -> None:
    for seed in range(5):
        one = await World(BRANCHING, uneven).solve(DiverseTreeSearch(4, 4, sampling(), branching=4), seed)
        beam = await World(BRANCHING, uneven).solve(BeamSearch(4, 4, sampling(), branching=4), seed)
        assert (one.history, one.usage) == (beam.history, beam.usage)
        assert set(steps_of(beam)) <= set(steps_of(one))
        assert steps_of(one)[one.answer_index or 0] == steps_of(beam)[beam.answer_index or 0]


async def test_every_beam_of_a_subtrees_last_round_is_offered() -> None:
    """A subtree whose best beam has ended after the first step offers what it drew there, copies included."""
    language = Table({"": {"=1\n": 0.5, "=2\n": 0.3, "a\n": 0.2}}, {"=3\n": 0.5, "b\n": 0.5})
    reward = {"=1\n": 0.9, "=2\n": 0.3, "a\n": 0.6, "=3\n": 0.7, "b\n": 0.2}
    num_ended = 0
    for seed in range(20):
        world = World(language, lambda q, steps: reward[steps[-1]])
        drawn = steps_of(await world.solve(DiverseTreeSearch(8, 1, sampling(), branching=4), seed))
        offered = steps_of(await world.solve(DiverseTreeSearch(8, 4, sampling(), branching=4), seed))
        assert len(offered) == 8
        for slots in (slice(0, 4), slice(4, 8)):
            if max(drawn[slots], key=lambda path: reward[path[-1]]) != ("a\n",):
                num_ended += 1
                assert offered[slots] == drawn[slots]
            else:
                assert all(path[0] == "a\n" for path in offered[slots])
    assert 20 < num_ended < 40  # some went on


@pytest.mark.parametrize("num_beams", [1, 2, 3, 5, 7, 10])
async def test_slots_that_do_not_divide(num_beams: int) -> None:
    for strategy in (
        BeamSearch(num_beams, 4, sampling(), branching=3),
        DiverseTreeSearch(num_beams, 4, sampling(), branching=3),
        TreeOfThoughts(num_beams, 4, sampling(), branching=3),
        Rebase(num_beams, 4, sampling()),
    ):
        world = World(ENDLESS, uneven)
        solution = await world.solve(strategy)
        assert 4 <= len(world.engine.requests) <= 4 * num_beams
        assert all(len(r.ancestors) <= num_beams for r in records_of(solution))


async def test_thoughts_below_the_threshold_are_pruned_and_save_tokens() -> None:
    world = World(ENDLESS, lambda q, steps: 0.9 if "c\n" not in steps else 0.3)
    solution = await world.solve(TreeOfThoughts(12, 3, sampling(), branching=2, threshold=0.5))
    pruned = [p for p in steps_of(solution) if "c\n" in p[:-1]]
    assert not pruned
    assert len(world.engine.requests) < 36


async def test_the_best_thought_survives_where_none_reaches_the_threshold() -> None:
    world = World(ENDLESS, lambda q, steps: 0.3 if steps[-1] == "a\n" else 0.1)
    solution = await world.solve(TreeOfThoughts(6, 3, sampling(), branching=2, threshold=0.99))
    assert all(path[:2] == ("a\n", "a\n") for path in steps_of(solution))
    assert len(world.engine.requests) == 6 + 2 + 2


@pytest.mark.parametrize(
    ("values", "temperature", "num_slots", "up", "remainder"),
    [
        ([0.5, 0.5], 0.2, 4, [2, 2], [2, 2]),
        ([0.5, 0.5], 0.2, 5, [3, 2], [3, 2]),  # a tie goes to the first
        ([1.0, 0.0], 0.2, 8, [8, 0], [8, 0]),  # 7.95 and .05
        ([0.7, 0.9, 0.1], 0.2, 8, [2, 6, 0], [2, 6, 0]),  # 2.12, 5.76, .11
        ([0.1, 0.5, 0.9], 1.0, 8, [1, 3, 4], [2, 2, 4]),  # 1.70, 2.53, 3.77; the best first: 3.77, 2.39 of 4
        ([0.9, 0.7, 0.1], 100.0, 9, [4, 3, 2], [3, 3, 3]),  # 3.01, 3.00, 2.98: rounding up favours the best
        ([0.3], 0.2, 3, [3], [3]),
        ([0.1, 0.9, 0.0], 0.001, 8, [0, 8, 0], [0, 8, 0]),  # the others' weights are 0 beside the best
        ([0.9, 0.1, 0.9], 0.0001, 8, [4, 0, 4], [4, 0, 4]),
    ],
)
def test_shares(
    values: list[float], temperature: float, num_slots: int, up: list[int], remainder: list[int]
) -> None:
    assert rounded_up(values, temperature, num_slots) == up
    assert by_remainder(values, temperature, num_slots) == remainder


@pytest.mark.parametrize("share_out", [rounded_up, by_remainder])
@given(
    values=st.lists(st.integers(0, 100).map(lambda x: x / 100), min_size=1, max_size=12),
    temperature=st.floats(0.0001, 10),
    num_slots=st.integers(0, 40),
)
def test_shares_add_up(share_out: Any, values: list[float], temperature: float, num_slots: int) -> None:
    shares = share_out(values, temperature, num_slots)
    assert sum(shares) == num_slots
    assert min(shares) >= 0
    assert shares[values.index(max(values))] == max(shares)


def path_of(trajectory: Trajectory) -> tuple[str, ...]:
    return tuple(step.text for step in trajectory.steps)


def authors_shares(rewards: list[float], width: int) -> list[int]:
    """The loop of the authors' code, at its temperature of 1."""
    left, shares = sum(map(math.exp, rewards)), [0] * len(rewards)
    for i in sorted(range(len(rewards)), key=lambda i: -rewards[i]):
        shares[i] = math.ceil(width * math.exp(rewards[i]) / left - 1e-9)
        width -= shares[i]
        left -= math.exp(rewards[i])
    return shares


async def test_rebase_draws_what_the_authors_code_draws() -> None:
    """At every level, from the rewards of the level before; what has ended keeps its slot."""
    language = Table({}, {"a\n": 0.4, "b\n": 0.2, "c\n": 0.2, "=1\n": 0.2})
    for seed in range(20):
        world = World(language, uneven)
        solution = await world.solve(Rebase(9, 3, sampling()), seed)
        assert world.verifier is not None
        drawn = zip(world.engine.requests, world.verifier.requests, strict=True)
        slots: list[Trajectory] = []
        expected = [""] * 9
        while expected:
            level = [next(drawn) for _ in expected]
            assert sorted("".join(map(chr, asked.token_ids)) for asked, _ in level) == sorted(expected)
            slots = [t for t in slots if t.finished] + particles(*(scored.steps for _, scored in level))
            opened = [t for t in slots if t.active and len(t.steps) < 3]
            shares = authors_shares([uneven("", path_of(t)) for t in opened], 9 - len(slots) + len(opened))
            expected = [t.text for t, share in zip(opened, shares, strict=True) for _ in range(share)]
        assert Counter(steps_of(solution)) == Counter(map(path_of, slots))


async def test_votes_of_rebase_weigh_by_the_reward_and_not_by_its_odds() -> None:
    """Three answers of .6 outvote one of .95, whose odds are four times theirs."""
    world = World(Table({}, {"=1\n": 0.7, "=2\n": 0.3}), lambda q, steps: {"=1\n": 0.6}.get(steps[0], 0.95))
    num_apart = 0
    for seed in range(10):
        by_reward = await world.solve(Rebase(5, 1, sampling()), seed)
        by_odds = await world.solve(Rebase(5, 1, sampling(), vote_by="odds"), seed)
        paths = steps_of(by_reward)
        num_right = paths.count(("=1\n",))
        assert np.exp(by_reward.log_weights).sum() == pytest.approx(0.6 * num_right + 0.95 * (5 - num_right))
        answer = "=1\n" if 0.6 * num_right > 0.95 * (5 - num_right) else "=2\n"
        assert paths[by_reward.answer_index or 0] == (answer,)
        num_apart += steps_of(by_odds)[by_odds.answer_index or 0] != (answer,)
    assert num_apart > 2


async def test_rebase_shares_by_reward_and_keeps_what_has_ended() -> None:
    language = Table({"": {"a\n": 0.45, "b\n": 0.25, "=1\n": 0.3}}, {"=2\n": 1.0})
    world = World(language, lambda q, steps: {"a\n": 0.9, "b\n": 0.5}.get(steps[0], 0.6))
    solution = await world.solve(Rebase(10, 3, sampling(), balance_temperature=0.2), 1)
    paths = steps_of(solution)
    assert len(paths) == 10
    first = [tuple(map(chr, r.token_ids)) for r in world.engine.requests]
    num_ended = 10 - (len(first) - 10)
    assert paths.count(("=1\n",)) == num_ended > 0
    assert paths.count(("a\n", "=2\n")) > 2 * paths.count(("b\n", "=2\n"))


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: BeamSearch(0, 3, sampling()), "strategy.num_beams"),
        (lambda: BeamSearch(4, 3, sampling(), look_ahead=-1), "strategy.look_ahead"),
        (lambda: BeamSearch(4, 3, sampling(), num_subtrees=5), "strategy.num_subtrees"),
        (lambda: DiverseTreeSearch(4, 3, sampling(), branching=0), "strategy.branching"),
        (lambda: TreeOfThoughts(4, 3, sampling(), threshold=1.5), "strategy.threshold"),
        (lambda: Rebase(4, 3, sampling(), balance_temperature=0.0), "strategy.balance_temperature"),
    ],
    ids=range(6),
)
def test_a_bad_knob_is_named(make: Any, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.key == key
