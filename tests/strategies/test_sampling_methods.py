"""Whole samples: greedy, best-of-N, self-consistency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, EngineBase, Failure, GenerateRequest
from orchestrator.types import Denoising, Finish, Solution, Step, Usage
from strategies.best_of_n import BestOfN
from strategies.greedy import Greedy
from strategies.parts.majority_vote import MajorityVote
from strategies.self_consistency import SelfConsistency
from tests.toy import BRANCHING, Table, World, sampling, steps_of, uneven

POLL = Table({}, {"=1\n": 0.5, "=2\n": 0.3, "": 0.2})


def chosen(solution: Solution) -> tuple[str, ...]:
    assert solution.answer_index is not None
    return steps_of(solution)[solution.answer_index]


async def test_greedy_takes_the_most_likely_step_each_time() -> None:
    world = World(BRANCHING, uneven)
    solution = await world.solve(Greedy(max_tokens=64))
    assert steps_of(solution) == [("a\n", "a\n", "=1\n")]
    assert solution.usage.reward_calls == 0
    assert len(world.engine.requests) == 1


async def test_best_of_n_is_the_best_of_n() -> None:
    for seed in range(20):
        solution = await World(BRANCHING, uneven).solve(BestOfN(5, sampling(max_tokens=64)), seed)
        finished = [p for p, t in zip(steps_of(solution), solution.trajectories, strict=True) if t.finished]
        assert chosen(solution) == max(finished, key=lambda path: uneven("", path))
        assert solution.usage.reward_calls == 5


@pytest.mark.parametrize("aggregation", ["last", "min", "prod", "mean"])
async def test_best_of_n_aggregates(aggregation: Any) -> None:
    reduce: Any = {"last": lambda v: v[-1], "min": min, "prod": math.prod, "mean": lambda v: sum(v) / len(v)}
    strategy = BestOfN(6, sampling(max_tokens=64), aggregation=aggregation)
    solution = await World(BRANCHING, uneven).solve(strategy, 3)
    rewards = [[uneven("", path[: i + 1]) for i in range(len(path))] for path in steps_of(solution)]
    values = [reduce[aggregation](r) for r in rewards]
    expected = [math.log(v / (1 - v)) for v in values]
    assert solution.log_weights == pytest.approx(expected)
    assert solution.answer_index == max(range(6), key=lambda i: values[i])


@pytest.mark.heavy
async def test_best_of_n_by_softmax() -> None:
    """Odds of 9 to 1 at temperature 1, of 3 to 1 at temperature 2."""
    language = Table({}, {"=1\n": 0.5, "=2\n": 0.5})
    world = World(language, lambda q, steps: 0.75 if steps == ("=2\n",) else 0.25)
    for temperature, share in ((1.0, 0.9), (2.0, 0.75)):
        strategy = BestOfN(2, sampling(), selection="sample", selection_temperature=temperature)
        solutions = [await world.solve(strategy, seed) for seed in range(900)]
        mixed = [s for s in solutions if len(set(steps_of(s))) == 2]
        assert len(mixed) > 300
        taken = sum(chosen(s) == ("=2\n",) for s in mixed) / len(mixed)
        assert taken == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / len(mixed)))


async def test_self_consistency_counts_equivalent_answers_and_calls_no_verifier() -> None:
    language = Table({}, {"=ab\n": 0.3, "=A B\n": 0.3, "=c\n": 0.4})
    world = World(language, uneven)
    solution = await world.solve(SelfConsistency(60, sampling()))
    assert chosen(solution) in {("=ab\n",), ("=A B\n",)}
    assert solution.usage.reward_calls == 0
    assert set(solution.log_weights) == {0.0}
    without_verifier = World(language)
    without_verifier.verifier = None
    assert (await without_verifier.solve(SelfConsistency(60, sampling()))).answer_index is not None


async def test_reward_weighted_votes() -> None:
    world = World(POLL, lambda q, steps: 0.9 if steps == ("=2\n",) else 0.1)
    assert chosen(await world.solve(SelfConsistency(60, sampling()))) == ("=1\n",)
    solution = await world.solve(SelfConsistency(60, sampling(), weight="reward"))
    assert chosen(solution) == ("=2\n",)
    assert {round(math.exp(x), 9) for x in solution.log_weights} == {0.9, 0.1}


async def test_votes_weighted_by_shortness() -> None:
    """Long texts are in the majority; each vote is 1 over its tokens."""
    world = World(Table({"": {"=1\n": 0.4, "a\n": 0.6}}, otherwise={"=2\n": 1.0}))
    assert chosen(await world.solve(SelfConsistency(60, sampling()))) == ("a\n", "=2\n")
    solution = await world.solve(SelfConsistency(60, sampling(), weight="shortness"))
    assert chosen(solution) == ("=1\n",)
    votes = {len(t.token_ids): w for t, w in zip(solution.trajectories, solution.log_weights, strict=True)}
    assert votes == {num: pytest.approx(-math.log(num)) for num in (3, 5)}


async def test_rewards_of_zero_still_vote_by_count() -> None:
    world = World(POLL, lambda q, steps: 0.0)
    assert chosen(await world.solve(SelfConsistency(60, sampling(), weight="reward"))) == ("=1\n",)


class Silent(EngineBase):
    """Every other reply is empty, as that of a server whose model has spent its tokens on a thought."""

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        empty = Step("", (), finish=Finish.LENGTH)
        answer = Step("=1\n", (1, 2), math.log(0.25), finish=Finish.EOS)
        return [Completion((empty if i % 2 else answer,), Usage()) for i in range(len(requests))]


@pytest.mark.parametrize(("weight", "votes"), [("likelihood", [0.5, 0.0]), ("shortness", [0.5, 1.0])])
async def test_an_empty_reply_is_no_answer_and_ends_no_run(weight: Any, votes: list[float]) -> None:
    world = World(engine=Silent())  # type: ignore[arg-type]
    solution = await world.solve(SelfConsistency(4, sampling(), weight=weight))
    assert chosen(solution) == ("=1\n",)
    assert [math.exp(x) for x in solution.log_weights] == pytest.approx(votes * 2)


async def test_no_sample_has_an_answer() -> None:
    solution = await World(Table({}, {"": 1.0})).solve(SelfConsistency(3, sampling()))
    assert solution.answer_index == 0


async def test_ties_by_likelihood() -> None:
    """One sample each: the likelier of two different answers wins, wherever it stands."""
    language = Table({}, {"=1\n": 0.8, "=2\n": 0.2})
    strategy = SelfConsistency(2, sampling(), tie_break="likelihood")
    solutions = [await World(language).solve(strategy, seed) for seed in range(60)]
    mixed = [s for s in solutions if len(set(steps_of(s))) == 2]
    assert {s.answer_index for s in mixed} == {0, 1}
    assert all(chosen(s) == ("=1\n",) for s in mixed)


async def test_waves_stop_once_the_vote_is_decided() -> None:
    """Nine in ten agree: 20 paths in waves of 4 need some 11 to 14; the answer is that of all 20."""
    language = Table({}, {"=1\n": 0.9, "=2\n": 0.1})
    for seed in range(10):
        world = World(language)
        solution = await world.solve(SelfConsistency(20, sampling(), wave_size=4), seed)
        num_samples = len(world.engine.requests)
        assert num_samples in (12, 16, 20)
        votes = [path for (path,) in steps_of(solution)]
        ahead = votes.count("=1\n") - votes.count("=2\n")
        assert ahead > 20 - num_samples
        before = votes[: num_samples - 4]
        assert abs(before.count("=1\n") - before.count("=2\n")) <= 20 - len(before)
        assert chosen(solution) == ("=1\n",)


async def test_waves_by_reward_count_a_vote_still_to_come_as_one() -> None:
    world = World(Table({}, {"=1\n": 1.0}), lambda q, steps: 0.5)
    solution = await world.solve(SelfConsistency(12, sampling(), weight="reward", wave_size=1))
    assert len(solution.trajectories) == 9  # 9 x .5 > 3, and 8 x .5 is not above 4


async def test_a_vote_over_denoising_paths() -> None:
    """The same vote serves any decoding parameters, one path each: a tie goes to the earliest path."""
    paths = [Denoising(block_length=b, gen_length=16, num_steps=8) for b in (4, 8)]
    world = World(Table({}, {"=1\n": 1.0}))
    solution = await world.solve(MajorityVote(paths))
    assert [r.params for r in world.engine.requests] == paths
    assert solution.answer_index == 0
    assert solution.usage.denoising_passes == 16


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Greedy(0), "strategy.max_tokens"),
        (lambda: BestOfN(0, sampling()), "strategy.num_samples"),
        (lambda: BestOfN(1, sampling(), selection="majority"), "strategy.selection"),  # type: ignore[arg-type]
        (lambda: BestOfN(1, sampling(), selection_temperature=0.0), "strategy.selection_temperature"),
        (lambda: SelfConsistency(0, sampling()), "strategy.num_samples"),
        (lambda: SelfConsistency(1, sampling(), weight="length"), "strategy.weight"),  # type: ignore[arg-type]
        (lambda: SelfConsistency(1, sampling(), tie_break="dice"), "strategy.tie_break"),  # type: ignore[arg-type]
        (lambda: MajorityVote([]), "strategy.paths"),
    ],
    ids=range(8),
)
def test_a_bad_knob_is_named(make: Any, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.key == key
