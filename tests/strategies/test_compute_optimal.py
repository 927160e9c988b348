"""A plan in a search: what it continues, what it charges, and when it is the setting itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.prompts.template import Template
from orchestrator.search.strategy import Strategy
from orchestrator.testing import FakeEngine, World
from orchestrator.types import Overhead, Prompt, Solution, Trajectory
from strategies import BestOfN, ComputeOptimal, SelfConsistency
from strategies.compute_optimal import mean_reward
from strategies.parts.answering import Answering
from strategies.parts.checklist import Checklist
from strategies.parts.chooser import Chooser
from strategies.parts.mbr import Mbr
from strategies.parts.plan import Continued, Plan
from strategies.parts.stopping import Stop
from tests.toy import BRANCHING, EVEN, load, sampling, uneven

WHOLE = sampling(max_tokens=16)


def planned(
    cuts: tuple[float, ...], chosen: tuple[int, ...], *settings: Strategy, probes: int = 4
) -> ComputeOptimal:
    plan = Plan(cuts, chosen, settings, budget=8.0, probes=probes)
    return ComputeOptimal(WHOLE, BestOfN(8, WHOLE), plan, probes)


async def solved(strategy: Strategy, seed: int = 0, **limits: int) -> tuple[Solution, World]:
    world = World(language=EVEN, reward=uneven)
    return await world.solve(strategy, seed, **limits), world


@pytest.mark.parametrize("name", ["best_of_n", "self_consistency", "particle_filter", "astar"])
async def test_a_plan_with_one_setting_is_that_setting(name: str) -> None:
    setting = load(name, 8)
    alone, _ = await solved(setting)
    by_plan, _ = await solved(planned((0.7, 0.3), (0, 0, 0), setting))
    assert by_plan == alone


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("setting", [BestOfN(8, WHOLE), SelfConsistency(8, WHOLE, weight="reward")])
async def test_a_setting_that_samples_continues_the_probes(setting: Strategy, seed: int) -> None:
    """The same list: the answer and the cost of the setting alone, to the token."""
    other = BestOfN(4, WHOLE)
    alone, plain = await solved(setting, seed)
    by_plan, world = await solved(
        planned((2.0,), (0, 1), other, setting), seed
    )  # every problem is on level 1
    assert by_plan.trajectories == alone.trajectories
    assert by_plan.answer_index == alone.answer_index
    assert by_plan.log_weights == alone.log_weights
    assert world.engine.usage == plain.engine.usage
    assert by_plan.usage.reward_calls == 8


async def test_a_smaller_number_than_the_probes_takes_the_first() -> None:
    alone, _ = await solved(BestOfN(2, WHOLE))
    by_plan, _ = await solved(planned((2.0,), (0, 1), BestOfN(8, WHOLE), BestOfN(2, WHOLE)))
    assert by_plan.trajectories == alone.trajectories
    assert by_plan.usage.reward_calls == 4  # the probes are charged


async def test_a_setting_that_prunes_continues_the_probes() -> None:
    """Where the engine samples by position: the same texts, and no token of a probe is drawn twice."""
    pruning = BestOfN(8, WHOLE, prune={1: 4})
    strategy = planned((2.0,), (0, 1), BestOfN(4, WHOLE), pruning)
    num_cut = 0
    for seed in range(8):
        worlds = [World(BRANCHING, uneven, engine=FakeEngine(sampler="stream")) for _ in range(3)]
        alone, probes, by_plan = [
            await world.solve(each, seed)
            for world, each in zip(worlds, (pruning, BestOfN(4, WHOLE), strategy), strict=True)
        ]
        assert by_plan.trajectories == alone.trajectories
        assert by_plan.answer_index == alone.answer_index
        pairs = zip(probes.trajectories, alone.trajectories, strict=False)
        beyond = sum(probe.num_tokens - text.num_tokens for probe, text in pairs)
        assert by_plan.usage.generated_tokens == alone.usage.generated_tokens + beyond
        assert worlds[2].engine.usage.generated_tokens == by_plan.usage.generated_tokens
        num_cut += beyond
    assert num_cut > 0


LISTING, PICK = Template("{question}\nlist"), Template("{question}\n{answers}\n{notes}\npick")
CHOOSERS = {
    "checklist": Checklist(LISTING, PICK, sampling(max_tokens=16)),
    "evidence": Mbr(evidence=2, evidence_prompt=Template("{question}\nmore"), sampling=WHOLE),
    "evidence of another policy": Mbr(
        evidence=2, evidence_prompt=Template("{question}\nmore"), sampling=WHOLE, policy="other"
    ),
}


@pytest.mark.parametrize("chooser", CHOOSERS.values(), ids=CHOOSERS)
@pytest.mark.parametrize("setting", [BestOfN, SelfConsistency])
async def test_a_setting_may_choose_by_prompts(setting: type[Strategy], chooser: Chooser) -> None:
    """They are beside the samples, and as many as those of the setting alone."""
    choosing: Any = setting(8, WHOLE, selection=chooser)  # type: ignore[call-arg]
    strategy = planned((2.0,), (0, 1), BestOfN(4, WHOLE), choosing)
    found = []
    for each in (choosing, strategy):
        world = World(EVEN, uneven, policies={"other": FakeEngine(language=EVEN)})
        solution = await world.solve(each)
        engines = (world.engine, world.policies["other"])
        asked = [[r.question.splitlines()[-1] for r in engine.requests] for engine in engines]
        found.append(([t.text for t in solution.trajectories], asked))
    assert found[0] == found[1]


async def test_what_is_generated_ahead_begins_after_the_probes() -> None:
    """No sample is drawn twice, and with a rule that never holds nothing is discarded."""
    setting = BestOfN(8, WHOLE, stop=Stop("threshold", 1.5, ahead=2))
    worlds = [World(EVEN, uneven, engine=FakeEngine(latency=lambda *_: 0.0)) for _ in range(2)]
    session, alone = worlds[0].session(), await worlds[1].solve(setting)
    by_plan = await planned((2.0,), (0, 1), BestOfN(4, WHOLE), setting).solve(session)
    await session._ledger.release()
    assert by_plan.trajectories == alone.trajectories
    assert [len({r.seed for r in w.engine.requests}) for w in worlds] == [8, 8]
    assert len(worlds[0].engine.requests) == 8
    assert session._ledger.overhead == Overhead()


async def test_under_a_prompt_a_setting_that_prunes_continues_the_answers_to_it() -> None:
    strategy = planned((2.0,), (0, 1), BestOfN(4, WHOLE), BestOfN(6, WHOLE, prune={1: 4}))
    world = World(BRANCHING, uneven, engine=FakeEngine(sampler="stream"))
    prompt = Prompt("bbaa", role="revise")
    solution = await strategy.solve(Answering(prompt).within(world.session(1)))
    assert {t.prompt for t in solution.trajectories} == {prompt}
    assert {r.question for r in world.engine.requests} == {"bbaa"}
    assert any(r.token_ids for r in world.engine.requests)


async def test_a_drawn_sample_answers_no_other_prompt() -> None:
    world = World(EVEN, uneven)
    drawn = await world.session().generate([Trajectory()] * 2, WHOLE, to_end=True, samples=[0, 1])
    session, asked = Continued(world.session(), drawn, WHOLE), len(world.engine.requests)
    starts = [Trajectory(), Trajectory(prompt=Prompt("bbaa"))]
    first, second = await session.generate(starts, WHOLE, to_end=True, samples=[0, 1])
    assert first == drawn[0] and len(world.engine.requests) == asked + 1
    assert second.prompt == Prompt("bbaa")


async def test_a_search_begins_anew_and_the_probes_are_charged() -> None:
    search = load("particle_filter", 4)
    alone, _ = await solved(search)
    by_plan, world = await solved(planned((2.0,), (0, 1), BestOfN(8, WHOLE), search))
    probes = sum(t.num_tokens for t in (await solved(BestOfN(4, WHOLE)))[0].trajectories)
    spent = sum(len(s.token_ids) for t in by_plan.trajectories for s in t.steps)
    assert by_plan.usage.generated_tokens == world.engine.usage.generated_tokens >= probes + spent / 2
    assert len(by_plan.trajectories) == len(alone.trajectories)


async def test_the_probes_choose_the_level() -> None:
    """With a cut at the mean reward of the probes a problem is above it, and not a little higher."""
    few, many = BestOfN(4, WHOLE), BestOfN(8, WHOLE)
    drawn, _ = await solved(few)
    mean = mean_reward(drawn.trajectories)
    for cut, num in ((mean, 4), (mean + 1e-6, 8)):
        solution, _ = await solved(planned((cut,), (0, 1), few, many))
        assert len(solution.trajectories) == num


async def test_a_limit_that_stops_the_probes_gives_the_best_of_them() -> None:
    strategy = planned((2.0,), (0, 1), BestOfN(8, WHOLE), load("particle_filter", 4))
    solution, _ = await solved(strategy, generated_tokens=24)
    assert solution.answer_index is not None
    assert solution.usage.generated_tokens <= 24


def test_readouts_are_those_that_all_settings_take() -> None:
    strategy = planned((0.5,), (0, 1), BestOfN(4, WHOLE), BestOfN(4, WHOLE, aggregation="model"))
    assert strategy.readouts == ("whole",)
    assert replace(strategy, plan=None).readouts == ("per_step", "whole")
    assert ComputeOptimal(WHOLE, SelfConsistency(4, WHOLE)).readouts == ()
