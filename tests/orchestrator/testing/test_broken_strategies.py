"""``check_strategy`` finds strategies that break a law: for each law there is one that breaks it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import EngineError, VerifierError
from orchestrator.search.session import Session
from orchestrator.testing import STRATEGY_LAWS, Law, StrategyCase, check_strategy, hold, name_of, strategies
from orchestrator.types import Finish, Sampling, Solution, Trajectory, Usage

pytestmark = pytest.mark.heavy

CASE: dict[str, Any] = {"budget": 4, "sample_tokens": 14}


def unchanged(solution: Solution) -> Solution:
    return solution


@dataclass(frozen=True)
class BestOf:
    """The best of several samples: sound, unless ``after`` it has ended something is changed."""

    after: Callable[[Solution], Solution] = unchanged
    num_samples: int = 4
    temperature: float = 0.8
    max_tokens: int = 14
    kinds: tuple[str, ...] = ("per_step", "whole")

    @property
    def readouts(self) -> tuple[str, ...]:
        return self.kinds

    @property
    def sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.max_tokens)

    async def sample(self, session: Session) -> list[Trajectory]:
        found = await session.generate([Trajectory()] * self.num_samples, self.sampling, to_end=True)
        return [t for t in found if t.steps]

    async def solve(self, session: Session) -> Solution:
        found = await session.score(await self.sample(session))
        order = sorted(range(len(found)), key=lambda i: (found[i].finished, value_of(found[i])))
        best = order[-1] if order else None
        return self.after(Solution(best, tuple(found), (0.0,) * len(found), usage=session.usage))


def value_of(trajectory: Trajectory) -> float:
    return trajectory.reward.value if trajectory.reward is not None else -1.0


@dataclass
class Thawed:
    num_samples: int = 4
    readouts: tuple[str, ...] = ()

    async def solve(self, session: Session) -> Solution:
        return await BestOf(num_samples=self.num_samples).solve(session)


@dataclass(frozen=True)
class Global(BestOf):
    """It draws from generators that all share."""

    draw: Callable[[], float] = random.random

    async def sample(self, session: Session) -> list[Trajectory]:
        self.draw()
        return await super().sample(session)


@dataclass(frozen=True)
class Unseeded(BestOf):
    """Its log-weights come from a generator without a seed."""

    async def solve(self, session: Session) -> Solution:
        solution = await super().solve(session)
        drawn = np.random.default_rng().random(len(solution.trajectories))
        return replace(solution, log_weights=tuple(drawn.tolist()))


@dataclass(frozen=True)
class Racing(BestOf):
    """It takes the samples in the order of their arrival."""

    async def sample(self, session: Session) -> list[Trajectory]:
        done: list[Trajectory] = []

        async def one(i: int) -> None:
            done.extend(await session.fork(str(i)).generate([Trajectory()], self.sampling, to_end=True))

        await asyncio.gather(*(one(i) for i in range(self.num_samples)))
        return [t for t in done if t.steps]


@dataclass(frozen=True)
class Remembering(BestOf):
    """What it returns depends on how many problems it has begun."""

    begun: list[int] = field(default_factory=list, hash=False, compare=False)

    async def solve(self, session: Session) -> Solution:
        self.begun.append(1)
        num = len(self.begun)
        solution = await super().solve(session)
        self.begun.pop()
        return replace(solution, log_weights=(float(num),) * len(solution.trajectories))


@dataclass(frozen=True)
class Hiding(BestOf):
    """It returns nothing where it should fail."""

    hidden: type[Exception] = EngineError

    async def solve(self, session: Session) -> Solution:
        try:
            return await super().solve(session)
        except self.hidden:
            return Solution(None, (), (), usage=session.usage)


@dataclass(frozen=True)
class Idle(BestOf):
    """It asks for nothing."""

    async def sample(self, session: Session) -> list[Trajectory]:
        return []


@dataclass(frozen=True)
class Careless(BestOf):
    """It keeps what a limit withheld."""

    async def sample(self, session: Session) -> list[Trajectory]:
        return await session.generate([Trajectory()] * self.num_samples, self.sampling, to_end=True)


@dataclass(frozen=True)
class Reviving(BestOf):
    """It asks on after the end of a text."""

    async def sample(self, session: Session) -> list[Trajectory]:
        found = [alive(t) for t in await super().sample(session)]
        return await session.generate(found, self.sampling)


def alive(trajectory: Trajectory) -> Trajectory:
    return Trajectory(tuple(replace(step, finish=Finish.STEP) for step in trajectory.steps))


@dataclass(frozen=True)
class Twins(BestOf):
    """Both of its branches have one name, and so the same seeds."""

    async def sample(self, session: Session) -> list[Trajectory]:
        branches = [session.fork("branch") for _ in range(2)]
        pairs = [await b.generate([Trajectory()] * 2, self.sampling, to_end=True) for b in branches]
        return [t for pair in pairs for t in pair if t.steps]


def last_unfinished(solution: Solution) -> Solution:
    unfinished = [i for i, t in enumerate(solution.trajectories) if not t.finished]
    return replace(solution, answer_index=unfinished[-1]) if unfinished else solution


def no_number(solution: Solution) -> Solution:
    return replace(solution, log_weights=(float("nan"),) * len(solution.trajectories))


def without_usage(solution: Solution) -> Solution:
    return replace(solution, usage=Usage())


def counted_twice(solution: Solution) -> Solution:
    return replace(solution, usage=solution.usage + solution.usage)


def only_finished(solution: Solution) -> Solution:
    found = any(t.finished for t in solution.trajectories)
    return solution if found else Solution(None, (), (), usage=solution.usage)


def only_rewarded(solution: Solution) -> Solution:
    """A reward of 0 is taken for none."""
    found = any(value_of(t) > 0 for t in solution.trajectories)
    return solution if found else Solution(None, (), (), usage=solution.usage)


def all_rewarded(solution: Solution) -> Solution:
    assert solution.answer_index is None or solution.trajectories[solution.answer_index].reward is not None
    return solution


def each_step_rewarded(solution: Solution) -> Solution:
    for trajectory in solution.trajectories:
        [step.reward.value for step in trajectory.steps if trajectory.reward]  # type: ignore[union-attr]
    return solution


TRUNCATED = BestOf(after=last_unfinished, num_samples=20, max_tokens=13)
BROKEN: list[tuple[Law[StrategyCase], Any, str]] = [
    (strategies.it_is_a_frozen_value_that_pickles, Thawed(), "Thawed is not frozen"),
    (strategies.it_is_a_frozen_value_that_pickles, object(), "object is no dataclass"),
    (strategies.it_is_a_frozen_value_that_pickles, BestOf(after=lambda s: s), "cannot be pickled"),
    (strategies.its_readouts_are_those_of_verifiers, BestOf(kinds=("steps",)), r"readouts is \('steps',\)"),
    (strategies.no_global_randomness_is_used, Global(), "was drawn from; use session.rng"),
    (strategies.no_global_randomness_is_used, Global(draw=np.random.random), "was drawn from"),
    (strategies.the_same_seed_gives_the_same_solution, Unseeded(), "seed 1 gave .* and then"),
    (strategies.the_same_seed_gives_the_same_solution, BestOf(temperature=0.0), "seeds 1 and 2 gave"),
    (strategies.a_solution_is_sound_and_pickles, BestOf(after=no_number), "a log-weight is NaN"),
    (
        strategies.a_solution_is_sound_and_pickles,
        TRUNCATED,
        "is not finished",
    ),
    (strategies.the_order_of_arrival_changes_nothing, Racing(), "shuffled replies gave"),
    (strategies.problems_side_by_side_do_not_disturb_each_other, Remembering(), "beside others"),
    (strategies.the_ledger_is_what_the_models_counted, BestOf(after=counted_twice), "and the models count"),
    (strategies.the_ledger_is_what_the_models_counted, BestOf(after=without_usage), "and the models count"),
    (strategies.the_budget_is_kept, BestOf(num_samples=5), r"70 tokens were generated; .* is 14\.\.56"),
    (strategies.a_token_limit_is_kept, Careless(), "a trajectory of the solution has no step"),
    (strategies.a_token_limit_is_kept, BestOf(after=counted_twice), "the limit is"),
    (strategies.a_reward_limit_is_kept, BestOf(after=counted_twice), "the limit is 1"),
    (strategies.a_time_limit_is_kept, Idle(), "it was stopped by None, and not by seconds"),
    (strategies.equal_rewards_have_an_answer, BestOf(after=only_rewarded), "with all rewards 0.0"),
    (
        strategies.a_reward_that_is_no_number_is_an_error,
        Hiding(hidden=VerifierError),
        "and raised no VerifierError",
    ),
    (strategies.a_failed_request_ends_the_problem, Hiding(), "instead of EngineError"),
    (
        strategies.an_odd_language_is_searched_too,
        BestOf(after=only_finished),
        "nothing ever finishes: there is no",
    ),
    (
        strategies.a_whole_readout_is_searched_too,
        BestOf(after=each_step_rewarded),
        "it raised AttributeError: 'NoneType'",
    ),
    (strategies.nothing_is_asked_about_a_trajectory_that_has_ended, Reviving(), "a continuation of '"),
    (strategies.seeds_are_never_shared, Twins(), "2 of 4 requests have the seed of another one"),
    (strategies.with_a_stream_every_number_is_used_once, Twins(), "were drawn with a seed and place"),
]  # fmt: skip
IDS = [f"{i} {name_of(law)}" for i, (law, _, _) in enumerate(BROKEN)]


@pytest.mark.parametrize(("law", "strategy", "shown"), BROKEN, ids=IDS)
async def test_it_is_found(law: Law[StrategyCase], strategy: Any, shown: str) -> None:
    with pytest.raises(AssertionError, match=rf"^{name_of(law)}: .*{shown}"):
        await hold(law, StrategyCase(strategy, **CASE))
    with pytest.raises(AssertionError):
        await check_strategy(strategy, **CASE)


def test_every_law_is_broken_by_one() -> None:
    assert {law for law, _, _ in BROKEN} == set(STRATEGY_LAWS)


async def test_a_sound_strategy_passes() -> None:
    await check_strategy(BestOf(), **CASE)
    await check_strategy(BestOf(temperature=0.0), draws=False)
    await check_strategy(Racing(), keeps_order=False)
