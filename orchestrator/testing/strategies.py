"""The laws of a strategy, and ``check_strategy``, which holds a strategy to all of them.

They search a toy world (``World``): words of four letters, solved in four steps of two tokens and one of six.
"""

from __future__ import annotations

import asyncio
import math
import pickle
import random
import time
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np

from orchestrator.errors import EngineError, VerifierError
from orchestrator.protocols import READOUTS
from orchestrator.search.strategy import Strategy
from orchestrator.testing.fakes import FakeEngine, FakeVerifier, RandomLatency, RewardFunction
from orchestrator.testing.laws import Law, hold_all, require
from orchestrator.testing.solutions import assert_prefers_finished, assert_sound
from orchestrator.testing.worlds import PROBLEM, Table, World
from orchestrator.types import DraftRecord, Record, RoleRecord, Solution, Usage

_TOKEN_LIMITS = (1, 2, 5, 9, 16, 17, 33, 40, 80)
_REWARD_LIMITS = (1, 2, 3, 7, 15)
_PATIENCE_S = 5.0
_MOST_STEPS = 64

ODD_LANGUAGES: Mapping[str, Table] = {
    "an empty step: end of text at once": Table({}, {"": 1.0}),
    "the answer at once": Table({}, {"=1\n": 1.0}),
    "nothing ever finishes": Table({}, {"a\n": 0.5, "b\n": 0.5}),
    "steps of nothing but the delimiter": Table({}, {"\n": 0.7, "": 0.3}),
    "a step of 16 tokens": Table({}, {"x" * 15 + "\n": 0.5, "=1\n": 0.5}),
    "a step of 41 tokens": Table({}, {"x" * 40 + "\n": 0.7, "=1\n": 0.3}),
}
"""What a model may write that a method did not expect."""


@dataclass(frozen=True)
class StrategyCase:
    """A strategy, and what it promises. See ``check_strategy``."""

    strategy: Strategy
    budget: int | None = None
    sample_tokens: int | None = None
    draws: bool = True
    keeps_order: bool = True


async def it_is_a_frozen_value_that_pickles(case: StrategyCase) -> None:
    strategy: Any = case.strategy
    require(is_dataclass(strategy), f"{type(strategy).__name__} is no dataclass")
    require(_is_frozen(strategy), f"{type(strategy).__name__} is not frozen: @dataclass(frozen=True)")
    try:
        copy = _pickled_copy(strategy)
        require(hash(copy) == hash(strategy), "a copy has another hash")
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise AssertionError(f"it cannot be pickled or hashed: {error}") from error
    require(copy == strategy, f"a pickled copy is {copy!r}, and not equal to {strategy!r}")


async def its_readouts_are_those_of_verifiers(case: StrategyCase) -> None:
    readouts = case.strategy.readouts
    legal = isinstance(readouts, tuple) and set(readouts) <= set(READOUTS)
    require(legal, f"readouts is {readouts!r}, and must be a tuple of {', '.join(READOUTS)}")


async def the_same_seed_gives_the_same_solution(case: StrategyCase) -> None:
    first, again, other = [await World().solve(case.strategy, seed) for seed in (1, 1, 2)]
    require(first == again, f"seed 1 gave {_shown(first)}, and then {_shown(again)}")
    if case.draws:
        require(
            first != other, f"seeds 1 and 2 gave {_shown(first)} (draws=False for a method without draws)"
        )


async def a_solution_is_sound_and_pickles(case: StrategyCase) -> None:
    for seed in (1, 2, 3):
        solution = await World().solve(case.strategy, seed)
        _require_sound(solution)
        require(_pickled_copy(solution) == solution, "a pickled copy of the solution differs")


async def the_order_of_arrival_changes_nothing(case: StrategyCase) -> None:
    if not case.keeps_order:
        return
    expected = await World().solve(case.strategy, 5)
    for latency_seed in range(3):
        world = World(engine=FakeEngine(latency=RandomLatency(latency_seed, most=0.002)))
        found = await world.solve(case.strategy, 5)
        shown = f"shuffled replies gave {_shown(found)}, and ordered ones {_shown(expected)}"
        require(found == expected, f"{shown} (keeps_order=False for a method that depends on it by nature)")


async def problems_side_by_side_do_not_disturb_each_other(case: StrategyCase) -> None:
    if not case.keeps_order:
        return
    world = World()
    together = await asyncio.gather(*(world.solve(case.strategy, seed) for seed in range(4)))
    for seed, found in enumerate(together):
        alone = await World().solve(case.strategy, seed)
        require(found == alone, f"seed {seed} gave {_shown(found)} beside others, {_shown(alone)} alone")


async def no_global_randomness_is_used(case: StrategyCase) -> None:
    """``session.rng`` is the one source: global generators are neither read nor advanced."""
    before = _global_state()
    await World().solve(case.strategy, 1)
    require(_global_state() == before, "random or numpy.random was drawn from; use session.rng")


async def the_ledger_is_what_the_models_counted(case: StrategyCase) -> None:
    world = World()
    solution = await world.solve(case.strategy)
    _require_ledger(world, solution)
    require(solution.usage != Usage(), "solution.usage is empty; return session.usage")


async def the_budget_is_kept(case: StrategyCase) -> None:
    """``budget=N`` is at most N full-length samples, and at least one.

    Replies of roles are beside it, and drafts that were refused.
    """
    if case.budget is None or case.sample_tokens is None:
        return
    endless = World(Table({}, {"a\n": 0.6, "b\n": 0.4}))
    solution = await endless.solve(case.strategy)
    least, most = case.sample_tokens, case.budget * case.sample_tokens
    spent = solution.usage.generated_tokens - sum(map(_tokens_beside, solution.history))
    message = (
        f"{spent} tokens were generated; budget={case.budget} with samples of {least} is {least}..{most}"
    )
    require(least <= spent <= most, message)


async def a_token_limit_is_kept(case: StrategyCase) -> None:
    for limit in _TOKEN_LIMITS:
        for seed in range(3):
            world = World()
            solution = await world.solve(case.strategy, seed, generated_tokens=limit)
            spent = solution.usage.generated_tokens
            require(spent <= limit, f"{spent} tokens were generated; the limit is {limit}")
            _require_ledger(world, solution)
            _require_sound(solution)


async def a_reward_limit_is_kept(case: StrategyCase) -> None:
    for limit in _REWARD_LIMITS:
        for seed in range(3):
            world = World()
            solution = await world.solve(case.strategy, seed, reward_calls=limit)
            spent = solution.usage.reward_calls
            require(spent <= limit, f"{spent} rewards were requested; the limit is {limit}")
            _require_ledger(world, solution)
            _require_sound(solution)


async def a_time_limit_is_kept(case: StrategyCase) -> None:
    """With models that take 30 s a reply, and a limit of 0.1 s."""
    slow_engine = World(engine=FakeEngine(latency=lambda request, completion: 30.0))
    slow_verifier = World(verifier=FakeVerifier(latency=lambda request: 30.0))
    for world, slow in ((slow_engine, "engine"), (slow_verifier, "verifier")):
        session, begun = world.session(0, seconds=0.1), time.monotonic()
        solution = await case.strategy.solve(session)
        took = time.monotonic() - begun
        require(took < _PATIENCE_S, f"with a slow {slow} it took {took:.1f} s; the limit is 0.1 s")
        # A method that requests no rewards has no reason to stop, unless a busy machine takes the time away.
        stopped = session.stopped_by == "seconds" or (slow == "verifier" and not _verifier(world).requests)
        require(stopped, f"with a slow {slow} it was stopped by {session.stopped_by}, and not by seconds")
        _require_sound(solution)


async def equal_rewards_have_an_answer(case: StrategyCase) -> None:
    """Rewards of 0, 0.5 and 1 throughout."""
    for reward in (0.0, 0.5, 1.0):
        solution = await World(reward=_always(reward)).solve(case.strategy)
        _require_sound(solution)
        require(solution.answer_index is not None, f"with all rewards {reward} there is no answer")


async def a_reward_that_is_no_number_is_an_error(case: StrategyCase) -> None:
    world = World(reward=lambda question, steps: math.nan)
    try:
        await world.solve(case.strategy)
    except VerifierError:
        return
    require(not _verifier(world).requests, "a reward of NaN was requested, and raised no VerifierError")


async def a_failed_request_ends_the_problem(case: StrategyCase) -> None:
    try:
        solution = await World(engine=FakeEngine(fail_on=PROBLEM.question)).solve(case.strategy)
    except EngineError:
        return
    raise AssertionError(f"every request failed, and it returned {_shown(solution)} instead of EngineError")


async def an_odd_language_is_searched_too(case: StrategyCase) -> None:
    for name, language in ODD_LANGUAGES.items():
        world = World(language)
        solution = await world.solve(case.strategy)
        _require_sound(solution)
        _require_ledger(world, solution)
        require(solution.answer_index is not None, f"{name}: there is no answer")
        longest = max(len(t.steps) for t in solution.trajectories)
        require(longest <= _MOST_STEPS, f"{name}: a trajectory has {longest} steps")


async def a_whole_readout_is_searched_too(case: StrategyCase) -> None:
    _require_sound(await World(verifier=FakeVerifier(readout="whole")).solve(case.strategy))


async def nothing_is_asked_about_a_trajectory_that_has_ended(case: StrategyCase) -> None:
    world = World()
    try:
        await world.solve(case.strategy)
    finally:  # the language has no continuation either
        for request in world.engine.requests:
            text = "".join(map(chr, request.token_ids))
            require("=" not in text and "\0" not in text, f"a continuation of {text!r} was requested")


async def seeds_are_never_shared(case: StrategyCase) -> None:
    world = World()
    await world.solve(case.strategy)
    seeds = [request.seed for request in world.engine.requests]
    num = len(seeds) - len(set(seeds))
    require(num == 0, f"{num} of {len(seeds)} requests have the seed of another one")


async def with_a_stream_every_number_is_used_once(case: StrategyCase) -> None:
    """Where a seed is a whole text's, none is drawn from twice in one place."""
    worlds = [World(engine=FakeEngine(sampler="stream", latency=RandomLatency(i, 0.001))) for i in range(2)]
    first, again = [await world.solve(case.strategy, 3) for world in worlds]
    drawn, drawn_again = (sorted(world.engine.drawn) for world in worlds)
    num = len(drawn) - len(set(drawn))
    require(num == 0, f"{num} of {len(drawn)} steps were drawn with a seed and place of another one")
    _require_sound(first)
    if case.keeps_order:
        require(first == again, f"seed 3 gave {_shown(first)}, and then {_shown(again)}")
        require(drawn == drawn_again, "the seeds and places of two runs differ")


STRATEGY_LAWS: tuple[Law[StrategyCase], ...] = (
    it_is_a_frozen_value_that_pickles,
    its_readouts_are_those_of_verifiers,
    no_global_randomness_is_used,
    the_same_seed_gives_the_same_solution,
    a_solution_is_sound_and_pickles,
    the_order_of_arrival_changes_nothing,
    problems_side_by_side_do_not_disturb_each_other,
    the_ledger_is_what_the_models_counted,
    the_budget_is_kept,
    a_token_limit_is_kept,
    a_reward_limit_is_kept,
    a_time_limit_is_kept,
    equal_rewards_have_an_answer,
    a_reward_that_is_no_number_is_an_error,
    a_failed_request_ends_the_problem,
    an_odd_language_is_searched_too,
    a_whole_readout_is_searched_too,
    nothing_is_asked_about_a_trajectory_that_has_ended,
    seeds_are_never_shared,
    with_a_stream_every_number_is_used_once,
)
"""In the order in which ``check_strategy`` checks them: what later ones rely on comes first."""


async def check_strategy(
    strategy: Strategy,
    *,
    budget: int | None = None,
    sample_tokens: int | None = None,
    draws: bool = True,
    keeps_order: bool = True,
) -> None:
    """Check that a strategy keeps what ``Strategy`` promises, on the shipped fakes, in about a second.

    A right solution of the toy world has five steps, of at most six tokens each. ``budget`` is the N that
    the strategy was made for, and ``sample_tokens`` the tokens of one full-length sample where no text ends
    by itself and a step has two tokens: 2 x ``max_steps``, or ``max_tokens``; None skips that law.
    ``draws=False`` is for a method that has no randomness, ``keeps_order=False`` for one whose solution
    depends on the order in which replies arrive.

    Raises AssertionError that names the first law that is broken, with the values.

    Example::

        async def test_my_strategy():
            await check_strategy(MyStrategy(num_samples=4, max_steps=7), budget=4, sample_tokens=14)
    """
    await hold_all(STRATEGY_LAWS, StrategyCase(strategy, budget, sample_tokens, draws, keeps_order))


def _tokens_beside(record: Record) -> int:
    """Return the tokens of a record that are in no candidate."""
    if isinstance(record, DraftRecord):
        return 0 if record.accepted else record.tokens
    return record.tokens if isinstance(record, RoleRecord) else 0


def _shown(solution: Solution) -> str:
    texts = [t.text for t in solution.trajectories]
    return f"{texts} (answer {solution.answer_index}, log-weights {solution.log_weights})"


def _always(reward: float) -> RewardFunction:
    return lambda question, steps: reward


def _pickled_copy(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def _is_frozen(strategy: Any) -> bool:
    name = next((field.name for field in fields(strategy)), None)
    if name is None:
        return bool(type(strategy).__dataclass_params__.frozen)
    try:
        setattr(strategy, name, getattr(strategy, name))
    except FrozenInstanceError:
        return True
    return False


def _require_sound(solution: Solution) -> None:
    assert_sound(solution)
    assert_prefers_finished(solution)


def _require_ledger(world: World, solution: Solution) -> None:
    """Require the usage that the fakes counted, to the token."""
    verifier = _verifier(world)
    counted = world.engine.usage + verifier.usage
    spent = replace(solution.usage, sequential_tokens=0)  # only a session knows which calls waited
    require(spent == counted, f"solution.usage is {solution.usage}, and the models count {counted}")
    clock, num = solution.usage.sequential_tokens, solution.usage.generated_tokens
    least = max((t.num_tokens for t in solution.trajectories), default=0)
    require(least <= clock <= num, f"sequential_tokens is {clock}, and must be {least}..{num}")
    calls, num = solution.usage.reward_calls, len(verifier.requests)
    require(calls == num, f"reward_calls is {calls}, and the verifier got {num} requests")


def _verifier(world: World) -> FakeVerifier:
    assert world.verifier is not None
    return world.verifier


def _global_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - to see that it is not used
    return (random.getstate(), name, tuple(np.asarray(keys).tolist()), *rest)
