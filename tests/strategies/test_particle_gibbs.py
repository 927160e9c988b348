"""Particle Gibbs: a sweep leaves its target as it is, and the reference is never lost or charged for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.search.session import Session
from orchestrator.testing import RewardFunction
from orchestrator.types import Carried, Finish, Reward, Step, Trajectory
from strategies.particle_gibbs import ParticleGibbs, draw_several
from strategies.parts.population import Population
from strategies.parts.selection import draw
from strategies.parts.sweeps import sweep, sweep_sizes
from strategies.parts.weighting import Absolute, Incremental
from tests.laws import chi_square_excess
from tests.quick_session import QuickSession, at_once
from tests.toy import (
    BRANCHING,
    EVEN,
    Steps,
    World,
    enumerate_paths,
    normalised,
    odds,
    records_of,
    sampling,
    steps_of,
    trajectory_of,
    uneven,
)

NUM_SWEEPS = 4000
"""So many that a share of the target that is off by a few per cent shows."""


def gibbs(num_samples: int = 8, max_steps: int = 4, **knobs: Any) -> ParticleGibbs:
    return ParticleGibbs(num_samples, max_steps, knobs.pop("sampling", sampling()), **knobs)


def path_of(trajectory: Trajectory) -> Steps:
    return tuple(s.text for s in trajectory.steps)


def steep(question: str, steps: Steps) -> float:
    """Rewards far enough apart that a wrong weight shows within a few hundred sweeps."""
    return uneven(question, steps) ** 2


def odds_of_all_steps(path: Steps, num_steps: int) -> float:
    """The product of the odds after each step; the last ones again, where the path has ended before."""
    return float(np.prod([odds(uneven("", path[: t + 1])) for t in range(num_steps)]))


def after_one_sweep(
    language: Any, reward: RewardFunction, target: dict[Steps, float], num_runs: int, **knobs: Any
) -> Counter[Steps]:
    """References drawn from the target itself, each moved by one sweep of four slots."""
    paths, rng = list(target), np.random.default_rng(7)
    starts = rng.choice(len(paths), size=num_runs, p=list(target.values()))

    quick = QuickSession(language, reward, 4, seed=11)

    async def move(start: int) -> Steps:
        reference = trajectory_of(paths[start], reward)
        session = quick.as_session()
        population, _ = await sweep(session, 4, [reference], max_steps=4, params=sampling(), **knobs)
        return path_of(population.particles[draw(quick.rng, population.log_weights)])

    return Counter(at_once(move(int(start))) for start in starts)


@pytest.mark.heavy
@pytest.mark.parametrize("ancestor_sampling", [False, True])
def test_a_sweep_leaves_the_posterior_as_it_is(ancestor_sampling: bool) -> None:
    target = normalised({x: p * steep("", x) for x, p in enumerate_paths(BRANCHING, 4).items()})
    counts = after_one_sweep(
        BRANCHING, steep, target, NUM_SWEEPS, weighting=Incremental(), ancestor_sampling=ancestor_sampling
    )
    assert chi_square_excess(counts, target) < 4


BEFORE_A_MARKER: dict[Steps, float] = {
    ("a",): 0.04,
    ("a", "#"): 0.4,
    ("a", "*"): 0.06,
    ("c",): 0.4,
    ("c", "#"): 0.02,
    ("c", "*"): 0.08,
}
"""A policy's texts. A step ends once "#" or "*" is generated, the first token of the next one."""

REWARDS = {("a",): 0.3, ("a", "#"): 0.1, ("a", "*"): 0.9, ("c",): 0.1, ("c", "#"): 0.9, ("c", "*"): 0.3}


@cache
def share(beginning: str) -> float:
    """The probability of the texts that begin so; "." is the end of text."""
    return sum(p for path, p in BEFORE_A_MARKER.items() if f"{''.join(path)}.".startswith(beginning))


@cache
def before_a_marker(path: Steps, num_steps: int) -> Trajectory:
    """The first steps of a text, without rewards; those that are open carry the marker."""
    steps, before = [], ""
    for text, following in zip(path[:num_steps], [*path[1:], "."], strict=False):
        logprob = math.log(share(before + text + following) / share(before + text))
        if following == ".":
            steps.append(Step(text, (*map(ord, text), ord(".")), finish=Finish.EOS))
        else:
            steps.append(Step(text, tuple(map(ord, text)), carried=Carried((ord(following),), (logprob,))))
        before += text
    return Trajectory(tuple(steps))


def rewarded(trajectory: Trajectory) -> Trajectory:
    path = path_of(trajectory)
    rewards = [Reward.from_value(REWARDS[path[: i + 1]]) for i in range(len(path))]
    rows = zip(trajectory.steps, rewards, strict=True)
    return trajectory.with_steps([replace(step, reward=reward) for step, reward in rows])


class BeforeAMarker:
    """A session whose steps end before a marker. A character is a token."""

    exhausted = False

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    async def generate(self, trajectories: Sequence[Trajectory], _: object) -> list[Trajectory]:
        return [self._next(t) if t.active else t for t in trajectories]

    def _next(self, parent: Trajectory) -> Trajectory:
        begun = parent.text + ("" if parent.carried is None else chr(*parent.carried.token_ids))
        paths = [path for path in BEFORE_A_MARKER if "".join(path).startswith(begun)]
        ends = np.cumsum([BEFORE_A_MARKER[path] for path in paths])
        path = paths[int(np.searchsorted(ends, self.rng.random() * ends[-1], side="right"))]
        return before_a_marker(path, len(parent.steps) + 1)

    async def score(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        return [rewarded(t) for t in trajectories]

    async def loglik(self, prefix: Trajectory, steps: Sequence[Step]) -> list[float]:
        found, before = [], prefix.text
        for step in steps:
            after = before + "".join(map(chr, step.token_ids))
            found.append(math.log(share(after) / share(before)) if share(after) else -math.inf)
            before = after
        return found

    def note(self, _: object, *, begins: bool = False) -> None:
        """No search is drawn."""


@pytest.mark.heavy
@pytest.mark.parametrize("ancestor_sampling", [False, True])
def test_a_sweep_leaves_the_posterior_before_markers_as_it_is(ancestor_sampling: bool) -> None:
    """What a particle carries has been drawn: it is no part of how likely the rest is from there."""
    target = normalised({x: p * REWARDS[x] for x, p in BEFORE_A_MARKER.items()})
    session, paths, rng = BeforeAMarker(11), list(target), np.random.default_rng(7)

    async def move(start: int) -> Steps:
        population, _ = await sweep(
            cast(Session, session),
            4,
            [rewarded(before_a_marker(paths[start], 2))],
            max_steps=2,
            params=sampling(),
            weighting=Incremental(),
            ancestor_sampling=ancestor_sampling,
        )
        return path_of(population.particles[draw(session.rng, population.log_weights)])

    starts = rng.choice(len(paths), size=NUM_SWEEPS, p=list(target.values()))
    counts = Counter(at_once(move(int(start))) for start in starts)
    assert chi_square_excess(counts, target) < 4


@pytest.mark.heavy
def test_absolute_weighting_has_a_target_where_all_lengths_are_equal() -> None:
    target = normalised({x: p * odds_of_all_steps(x, 3) for x, p in enumerate_paths(EVEN, 3).items()})
    counts = after_one_sweep(EVEN, uneven, target, NUM_SWEEPS, weighting=Absolute())
    assert chi_square_excess(counts, target) < 4


@pytest.mark.heavy
def test_absolute_weighting_has_none_where_lengths_differ() -> None:
    """An ended trajectory's last reward counts as often as its population has steps: one sweep shows it."""
    target = normalised({x: p * odds_of_all_steps(x, 4) for x, p in enumerate_paths(BRANCHING, 4).items()})
    counts = after_one_sweep(BRANCHING, uneven, target, NUM_SWEEPS, weighting=Absolute())
    assert chi_square_excess(counts, target) > 8


async def test_the_reference_holds_its_slot_and_costs_nothing() -> None:
    reference = trajectory_of(("b\n", "b\n", "a\n", "=1\n"), uneven)
    for seed in range(20):
        world = World(BRANCHING, uneven)
        population, history = await sweep(
            world.session(seed), 3, [reference], max_steps=4, params=sampling(), weighting=Absolute()
        )
        assert population.particles[0] == reference
        assert all(record.ancestors[0] == 0 for record in history)
        assert all(r.params == sampling() for r in world.engine.requests)
        assert len(world.engine.requests) <= 2 * 4


async def test_a_fork_of_the_reference_starts_from_where_it_was() -> None:
    """The reference ends after four steps; a fork at step 2 has its first two steps, and is active."""
    reference = trajectory_of(("b\n", "b\n", "a\n", "=1\n"), lambda q, steps: 0.99)
    forked = 0
    for seed in range(30):
        world = World(BRANCHING, lambda q, steps: 0.99 if steps[0] == "b\n" else 0.01)
        await sweep(world.session(seed), 3, [reference], max_steps=4, params=sampling(), weighting=Absolute())
        prefixes = ["".join(map(chr, r.token_ids)) for r in world.engine.requests]
        forked += "b\nb\n" in prefixes
        assert all("=" not in prefix for prefix in prefixes)
    assert forked > 20


async def test_ancestor_sampling_moves_the_past_of_the_reference() -> None:
    reference = trajectory_of(("b\n", "b\n", "=1\n"), uneven)
    pasts = set()
    for seed in range(40):
        population, _ = await sweep(
            World(EVEN, uneven).session(seed),
            4,
            [reference],
            max_steps=3,
            params=sampling(),
            weighting=Incremental(),
            ancestor_sampling=True,
        )
        held = population.particles[0]
        assert held.steps[-1].text == "=1\n"
        reward = held.steps[-1].reward
        assert reward is not None and reward.value == pytest.approx(uneven("", path_of(held)))
        pasts.add(path_of(held)[:2])
    assert len(pasts) == 4


@pytest.mark.parametrize(
    ("num_samples", "num_iterations", "sizes"),
    [(18, 4, [5, 5, 4, 4]), (10, 4, [5, 5]), (7, 4, [7]), (1, 4, [1]), (64, 4, [16] * 4), (5, 1, [5])],
)
def test_sweep_sizes(num_samples: int, num_iterations: int, sizes: list[int]) -> None:
    """Four particles or more in each; with two a sweep is little more than the reference."""
    assert sweep_sizes(num_samples, num_iterations, 4) == sizes
    assert sweep_sizes(9, 4, 2) == [3, 2, 2, 2]


async def test_all_sweeps_are_offered() -> None:
    solution = await World(EVEN, uneven).solve(gibbs(12, 3, num_iterations=3))
    assert len(solution.trajectories) == 12
    assert [r.step for r in records_of(solution)] == list(range(1, 10))
    weights = np.exp(solution.log_weights).reshape(3, 4).sum(axis=1)
    assert weights == pytest.approx(1)
    assert solution.answer_index is not None
    best = max(uneven("", path) for path in steps_of(solution))
    assert uneven("", steps_of(solution)[solution.answer_index]) == best


def test_references_are_drawn_without_replacement() -> None:
    particles = tuple(trajectory_of((text,), uneven) for text in ("a\n", "b\n", "=1\n"))
    population = Population(particles, (5.0, 0.0, -5.0))
    for seed in range(20):
        drawn = draw_several(np.random.default_rng(seed), population, 9)
        assert sorted(map(path_of, drawn)) == sorted(map(path_of, particles))
    first = [draw_several(np.random.default_rng(s), population, 1)[0] for s in range(50)]
    assert first.count(particles[0]) > 45


async def test_several_references_are_held_and_none_twice() -> None:
    world = World(EVEN, uneven)
    solution = await world.solve(gibbs(8, 3, num_iterations=2, num_references=2))
    assert all(r.ancestors[:2] == (0, 1) for r in records_of(solution)[3:])
    held = solution.trajectories[4:6]
    assert all(t in solution.trajectories[:4] for t in held)
    assert len(world.engine.requests) == 4 * 3 + 2 * 3  # what is held costs nothing
    two_a_sweep = gibbs(4, 3, num_iterations=2, num_references=9, min_particles=2)
    everything = await World(EVEN, uneven).solve(two_a_sweep)
    assert len(everything.trajectories) == 4  # one slot of each sweep stays free


async def test_one_iteration_is_the_particle_filter() -> None:
    solution = await World(BRANCHING, uneven).solve(gibbs(5, 4, num_iterations=1))
    assert len(solution.trajectories) == 5
    assert records_of(solution)[0].ancestors != (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("knobs", "key"),
    [
        ({"num_iterations": 0}, "strategy.num_iterations"),
        ({"min_particles": 1}, "strategy.min_particles"),
        ({"num_references": 0}, "strategy.num_references"),
        ({"ancestor_sampling": True, "weighting": "absolute"}, "strategy.ancestor_sampling"),
        (
            {"ancestor_sampling": True, "aggregation": "min"},
            "strategy.ancestor_sampling",
        ),
        (
            {"ancestor_sampling": True, "sampling": sampling(temperature=0.8)},
            "strategy.ancestor_sampling",
        ),
    ],
    ids=range(6),
)
def test_a_bad_knob_is_named(knobs: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        gibbs(**knobs)
    assert error.value.key == key
