"""Samples that are stopped, pruned and tempered: prefixes of the same list, whatever arrives first."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.protocols import Sampler
from orchestrator.search.controller import Controller
from orchestrator.storage.silence import Lengths
from orchestrator.testing import (
    STRATEGY_LAWS,
    FakeEngine,
    FakeTask,
    FakeVerifier,
    RandomLatency,
    StrategyCase,
    TokenLatency,
    hold_all,
    strategies,
)
from orchestrator.types import Denoising, Finish, Sampling, Solution
from strategies import BestOfN, Greedy, Hex, SelfConsistency, Stop
from tests.toy import BRANCHING, Table, World, sampling, uneven

PARAMS = sampling(max_tokens=64)
CANVAS = Denoising(gen_length=32, temperature=0.9)
POLL = Table({}, {"=1\n": 0.6, "=2\n": 0.3, "": 0.1})


def settings() -> dict[str, Any]:
    """Every setting, as a function of N."""
    return {
        "threshold": lambda n: BestOfN(n, PARAMS, stop=Stop("threshold", 0.8)),
        "ahead": lambda n: BestOfN(n, PARAMS, stop=Stop("threshold", 0.8, ahead=3)),
        "in waves": lambda n: BestOfN(n, PARAMS, stop=Stop("threshold", 0.8), wave_size=3),
        "by the vote": lambda n: BestOfN(n, PARAMS, stop=Stop("beta", 0.8)),
        "by the most": lambda n: BestOfN(n, PARAMS, stop=Stop("decided"), wave_size=1),
        "pruned": lambda n: BestOfN(n, PARAMS, prune={1: n, 2: max(1, n // 2)}),
        "hedged": lambda n: BestOfN(n, PARAMS, temperatures="hedged"),
        "annealed": lambda n: BestOfN(n, PARAMS, temperatures="annealed"),
        "vote by beta": lambda n: SelfConsistency(n, PARAMS, stop=Stop("beta", ahead=2)),
        "vote by reward": lambda n: SelfConsistency(n, PARAMS, stop=Stop("threshold", 0.8)),
        "vote until decided": lambda n: SelfConsistency(
            n, PARAMS, wave_size=2, stop=Stop("decided", ahead=2)
        ),
        "vote pruned": lambda n: SelfConsistency(n, PARAMS, prune={1: max(1, n // 2)}),
        "vote annealed": lambda n: SelfConsistency(n, PARAMS, temperatures="annealed"),
        "hex by beta": lambda n: Hex(n, CANVAS, (4, 8), stop=Stop("beta"), temperatures="hedged"),
    }


@pytest.mark.heavy
@pytest.mark.parametrize("name", settings())
async def test_every_setting_keeps_the_laws(name: str) -> None:
    """One that runs ahead spends more at the models than its usage says: the rest is overhead (below)."""
    strategy = settings()[name](4)
    case = StrategyCase(strategy, 4, 32 if name.startswith("hex") else None)
    counted = (strategies.the_ledger_is_what_the_models_counted, strategies.a_reward_limit_is_kept,
               strategies.an_odd_language_is_searched_too) if strategy.stop.ahead else ()  # fmt: skip
    await hold_all([law for law in STRATEGY_LAWS if law not in counted], case)


@pytest.mark.parametrize("name", [name for name in settings() if "pruned" not in name])
@pytest.mark.parametrize("sampler", ["step", "stream"])
async def test_a_smaller_n_has_the_first_samples(name: str, sampler: Sampler) -> None:
    for seed in range(4):
        few, many = [
            await World(BRANCHING, uneven, engine=FakeEngine(sampler=sampler)).solve(
                settings()[name](n), seed
            )
            for n in (5, 12)
        ]
        assert many.trajectories[: len(few.trajectories)] == few.trajectories
        stopped = len(few.trajectories) < 5 and "decided" not in name
        assert not stopped or many.trajectories == few.trajectories


# --- threshold -------------------------------------------------------------------------------------------


async def solved(strategy: Any, seed: int = 0, **world: Any) -> Solution:
    return await World(BRANCHING, uneven, **world).solve(strategy, seed)


async def test_at_0_it_is_one_sample_and_above_1_all() -> None:
    for seed in range(8):
        one = await solved(BestOfN(8, PARAMS, stop=Stop("threshold", 0.0)), seed)
        assert one == await solved(BestOfN(1, PARAMS), seed)
        every = await solved(BestOfN(8, PARAMS, stop=Stop("threshold", 1.01)), seed)
        plain = await solved(BestOfN(8, PARAMS), seed)
        assert every.trajectories == plain.trajectories and every.answer_index == plain.answer_index
        assert every.usage == replace(plain.usage, sequential_tokens=every.usage.sequential_tokens)


async def test_the_expected_number_of_samples() -> None:
    """(1 - (1 - q)^N) / q where each sample reaches the level with chance q."""
    q, num, runs = 0.3, 6, 500
    world = World(Table({}, {"=1\n": q, "=2\n": 1 - q}), lambda _, steps: 0.9 if steps == ("=1\n",) else 0.2)
    strategy = BestOfN(num, PARAMS, stop=Stop("threshold", 0.9))
    counts = [len((await world.solve(strategy, seed)).trajectories) for seed in range(runs)]
    expected = (1 - (1 - q) ** num) / q
    spread = math.sqrt(sum((c - expected) ** 2 for c in counts) / runs)
    assert sum(counts) / runs == pytest.approx(expected, abs=4 * spread / math.sqrt(runs))
    assert {*counts} == {*range(1, num + 1)}


async def test_a_text_without_an_end_does_not_stop_a_search() -> None:
    """It has the best reward, and is no answer."""
    language = Table({"": {"a\n": 0.5, "=1\n": 0.5}}, {"a\n": 1.0})
    world = World(language, lambda _, steps: 0.9 if "=" in steps[-1] else 0.99)
    for seed in range(8):
        solution = await world.solve(BestOfN(16, PARAMS, stop=Stop("threshold", 0.9)), seed)
        assert solution.answer_index == len(solution.trajectories) - 1
        assert solution.trajectories[-1].finished


async def test_samples_ahead_change_the_latency_alone() -> None:
    """With three ahead, four are in flight: the same candidates and usage, and a shorter chain of calls."""
    for seed in range(6):
        engine = FakeEngine(latency=TokenLatency(0.001))
        one_by_one = await solved(BestOfN(9, PARAMS, stop=Stop("threshold", 0.8)), seed)
        world = World(BRANCHING, uneven, engine=engine)
        session = world.session(seed)
        ahead = await BestOfN(9, PARAMS, stop=Stop("threshold", 0.8, ahead=3)).solve(session)
        clock = ahead.usage.sequential_tokens
        assert replace(ahead, usage=one_by_one.usage) == one_by_one
        assert replace(ahead.usage, sequential_tokens=one_by_one.usage.sequential_tokens) == one_by_one.usage
        assert clock <= one_by_one.usage.sequential_tokens
        assert len({r.seed for r in engine.requests}) == len(engine.requests) <= len(ahead.trajectories) + 3


async def test_what_was_generated_ahead_and_not_used_is_overhead() -> None:
    """Replies that are there count what they took; those of cancelled calls count at the engine."""
    world = World(Table({}, {"=1\n": 1.0}), lambda *_: 0.95)  # replies of 3 tokens, all at once
    controller = Controller(
        BestOfN(9, PARAMS, stop=Stop("threshold", 0.9, ahead=5)),
        world.engine,
        world.verifier,
        FakeTask(num_problems=1),
    )
    (problem,) = FakeTask(num_problems=1).problems(0, None)
    result = await controller.solve(problem)
    assert len(result.candidates) == 1 and result.usage.generated_tokens == 3
    assert len(world.engine.requests) == 6
    assert result.overhead.speculated_tokens == world.engine.usage.generated_tokens - 3 == 15


async def test_under_a_limit_of_tokens_nothing_runs_ahead() -> None:
    limited = {"generated_tokens": 40}
    worlds = [World(BRANCHING, uneven) for _ in range(2)]
    plain, ahead = [
        await world.solve(BestOfN(9, PARAMS, stop=Stop("threshold", 1.01, ahead=n)), 3, **limited)
        for world, n in zip(worlds, (0, 3), strict=True)
    ]
    assert ahead == plain
    assert worlds[0].engine.requests == worlds[1].engine.requests


@pytest.mark.parametrize("name", ["threshold", "ahead", "in waves", "vote by beta"])
async def test_the_order_of_arrival_changes_nothing(name: str) -> None:
    expected = await solved(settings()[name](8), 5)
    for latency in range(3):
        engine = FakeEngine(latency=RandomLatency(latency, 0.002))
        verifier = FakeVerifier(uneven, latency=lambda _: 0.001)
        assert await solved(settings()[name](8), 5, engine=engine, verifier=verifier) == expected


# --- votes -----------------------------------------------------------------------------------------------


async def test_the_beta_rule_stops_a_clear_vote_early() -> None:
    """Four equal votes reach .95 (1 - 2^-5 = .969), three do not (.9375)."""
    solution = await World(Table({}, {"=1\n": 1.0})).solve(SelfConsistency(20, PARAMS, stop=Stop("beta")))
    assert len(solution.trajectories) == 4
    counts = [
        len((await World(POLL).solve(SelfConsistency(20, PARAMS, stop=Stop("beta")), seed)).trajectories)
        for seed in range(30)
    ]
    assert min(counts) == 4 and max(counts) == 20


async def test_best_of_n_is_decided_by_the_greatest_reward_there_is() -> None:
    world = World(POLL, lambda _, steps: 1.0 if steps == ("=2\n",) else 0.5)
    strategy = BestOfN(16, PARAMS, stop=Stop("decided"), wave_size=1)
    for seed in range(10):
        solution, plain = await world.solve(strategy, seed), await world.solve(BestOfN(16, PARAMS), seed)
        texts = [t.text for t in solution.trajectories]
        assert "=2\n" not in texts[:-1] and (texts[-1] == "=2\n" or len(texts) == 16)
        assert solution.answer_index == plain.answer_index


async def test_without_waves_a_vote_is_drawn_at_once() -> None:
    world = World(POLL)
    await world.solve(SelfConsistency(6, PARAMS))
    assert len(world.engine.requests) == 6 and world.verifier is not None and not world.verifier.requests


# --- prune -----------------------------------------------------------------------------------------------


async def test_keeping_all_is_best_of_n() -> None:
    """Bit for bit, where an engine continues a text as if it had never stopped."""
    for seed in range(6):
        plain, kept = [
            await solved(BestOfN(6, PARAMS, prune=prune), seed, engine=FakeEngine(sampler="stream"))
            for prune in (None, {1: 6, 2: 6, 3: 6})
        ]
        assert replace(kept, usage=plain.usage) == plain
        assert kept.usage.generated_tokens == plain.usage.generated_tokens


async def test_the_worst_end_where_they_are() -> None:
    """Of texts that are open after a step only the best go on, and the others cost nothing more."""
    language = Table({"": {"a\n": 0.5, "b\n": 0.5}}, {"=1\n": 1.0})
    world = World(language, lambda _, steps: 0.8 if steps[0] == "a\n" else 0.3)
    for seed in range(6):
        solution = await world.solve(BestOfN(6, PARAMS, prune={1: 2}), seed)
        first = [t.text[0] for t in solution.trajectories]
        kept = sorted(range(6), key=lambda i: (first[i], i))[:2]
        assert [i for i, t in enumerate(solution.trajectories) if t.finished] == sorted(kept)
        pruned = [t for t in solution.trajectories if not t.finished]
        assert all(t.pruned and not t.active and not t.truncated and len(t.steps) == 1 for t in pruned)
        assert all(Lengths().cut_off_by(t, None) == "search" for t in pruned)
        assert solution.usage.generated_tokens == 6 * 2 + 2 * 3
        assert solution.usage.reward_calls == 6 + 2


async def test_a_text_that_has_ended_is_not_pruned() -> None:
    world = World(
        Table({"": {"=1\n": 0.5, "a\n": 0.5}}, {"=2\n": 1.0}), lambda _, s: 0.1 if s[0] == "=1\n" else 0.9
    )
    solution = await world.solve(BestOfN(8, PARAMS, prune={1: 1}), 1)
    ends = {t.steps[-1].finish for t in solution.trajectories}
    assert ends == {Finish.ANSWER, Finish.PRUNED}
    assert [t.text for t in solution.trajectories].count("a\n=2\n") == 1


async def test_a_step_after_every_end_is_not_waited_for() -> None:
    world = World(Table({}, {"=1\n": 1.0}), lambda _, steps: 0.5)
    solution = await world.solve(BestOfN(4, PARAMS, prune={10**12: 1}))
    assert [t.finished for t in solution.trajectories] == [True] * 4


async def test_an_answers_bound_holds_over_its_steps() -> None:
    """Step by step a text gets no more room than at once."""
    endless = Table({}, {"a\n": 1.0})
    for most in (5, 6):
        params = replace(PARAMS, max_tokens=most)
        whole = await World(endless).solve(BestOfN(2, params))
        steps = await World(endless).solve(BestOfN(2, params, prune={2: 2, 5: 2}))
        assert [t.num_tokens for t in steps.trajectories] == [most] * 2
        assert [t.text for t in steps.trajectories] == [t.text for t in whole.trajectories]
        assert all(t.truncated for t in steps.trajectories)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"prune": {0: 2}}, "strategy.prune="),
        ({"prune": {1: 2, 2: 3}}, "strategy.prune="),
        ({"prune": {1: 0.5}}, "strategy.prune="),
        ({"prune": 4}, "strategy.prune=4"),
        ({"prune": {}}, "strategy.prune="),
        ({"prune": {1: 2}, "wave_size": 2}, "strategy.prune="),
        ({"prune": {1: 2}, "stop": Stop("threshold")}, "strategy.prune="),
        ({"temperatures": "hot"}, "strategy.temperatures=hot"),
    ],
)
@pytest.mark.parametrize("method", [BestOfN, SelfConsistency])
def test_bad_settings(method: Any, knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        method(4, PARAMS, **knobs)
    assert str(caught.value).startswith(message)


def test_points_are_read_from_json_too() -> None:
    assert BestOfN(4, PARAMS, prune={"4": 2, "1": 3}) == BestOfN(4, PARAMS, prune={1: 3, 4: 2})
    assert BestOfN(4, PARAMS, prune={1: 3}).prune == ((1, 3),)


# --- temperatures ----------------------------------------------------------------------------------------


def temperatures_of(world: World) -> list[float]:
    return [r.params.temperature for r in world.engine.requests if isinstance(r.params, Sampling)]


async def test_hedged_begins_with_the_greedy_answer() -> None:
    world = World(BRANCHING, uneven)
    solution = await world.solve(BestOfN(4, PARAMS, temperatures="hedged"))
    assert temperatures_of(world) == [0.0, 1.0, 1.0, 1.0]
    (greedy,) = (await solved(Greedy(64))).trajectories
    assert solution.trajectories[0].text == greedy.text
    assert [p.temperature for p in solution.params if isinstance(p, Sampling)] == [0.0, 1.0, 1.0, 1.0]


async def test_annealed_approaches_the_temperature() -> None:
    world = World(BRANCHING, uneven)
    await world.solve(SelfConsistency(4, replace(PARAMS, temperature=0.8), temperatures="annealed"))
    assert temperatures_of(world) == pytest.approx([0.0, 0.4, 0.6, 0.7])
