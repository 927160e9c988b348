"""Samples that are granted across problems: the same for any concurrency, order, shard and interruption."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from orchestrator.allocation.bids import Bid
from orchestrator.allocation.rounds import Rounds
from orchestrator.errors import StrategyError
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Failure, GenerateRequest, ScoreReply, ScoreRequest
from orchestrator.search.account import Account, Limits
from orchestrator.search.controller import Controller
from orchestrator.search.grants import Block, Granting, in_blocks
from orchestrator.storage.journal import Journal, Journals
from orchestrator.storage.result_lines import granted_of, result_line
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier, RandomLatency
from orchestrator.types import Denoising, Granted, Reward, RoundRecord, Sampling, Usage
from strategies import BestOfN, Hex, SelfConsistency
from tests.bench.virtual_time import VirtualTimeLoop

TASK = FakeTask(num_problems=10)
PARAMS = Sampling(max_tokens=64)
ROUNDS = Rounds(block=4)
BUDGET = 5


# Every gain, with each of the strategies that draw numbered samples.
GAINS: dict[str, dict[str, Any]] = {
    "need": {},
    "improvement": {"rounds": Rounds(block=4, gain="improvement")},
    "parcels": {"rounds": Rounds(block=4, parcel=2, first=1, share=0.5)},
    "vote": {"rounds": Rounds(block=4, gain="vote"), "strategy": SelfConsistency(BUDGET, PARAMS)},
    "hex": {"rounds": Rounds(block=4, gain="vote"), "strategy": Hex(BUDGET, Denoising(gen_length=16))},
}


def controller(**parts: Any) -> Controller:
    how: dict[str, Any] = {
        "strategy": BestOfN(BUDGET, PARAMS),
        "engine": FakeEngine(),
        "verifier": FakeVerifier(),
        "task": TASK,
        "rounds": ROUNDS,
        "budget": BUDGET,
    }
    return Controller(**(how | parts))


async def solve(
    finished: Mapping[str, Granted] = {},
    offset: int = 0,
    limit: int | None = None,
    **parts: Any,
) -> dict[str, ProblemResult]:
    results: dict[str, ProblemResult] = {}

    def keep(result: ProblemResult) -> None:
        results[result.problem.id] = result

    made = controller(offset=offset, **parts)
    await made.run_blocks(TASK.problems(offset, limit), finished, keep)
    return results


def plain(results: Mapping[str, ProblemResult]) -> dict[str, Any]:
    return {i: replace(r, seconds=0.0) for i, r in sorted(results.items())}


def counts(results: Mapping[str, ProblemResult]) -> dict[str, int]:
    return {i: len(r.candidates) for i, r in sorted(results.items())}


async def test_the_budget_is_spent_to_the_sample_where_it_is_needed() -> None:
    """A mean of five a problem in each block of four; hard problems have more."""
    results = await solve()
    assert sum(counts(results).values()) == BUDGET * TASK.num_problems
    for block in (range(4), range(4, 8), range(8, 10)):
        assert sum(len(results[f"fake-{i}"].candidates) for i in block) == BUDGET * len(block)
    assert min(counts(results).values()) >= ROUNDS.first
    assert len(set(counts(results).values())) > 1


@pytest.mark.parametrize("how", GAINS)
@pytest.mark.parametrize("concurrency", [1, pytest.param(2, marks=pytest.mark.heavy), 8])
async def test_the_same_grants_for_any_concurrency_and_order(concurrency: int, how: str) -> None:
    """One place is enough: a problem that waits holds none."""
    expected = plain(await solve(**GAINS[how]))
    engine = FakeEngine(latency=RandomLatency(concurrency, 0.002))
    found = await solve(concurrency=concurrency, **GAINS[how] | {"engine": engine})
    assert plain(found) == expected
    num = sum(counts(found).values())
    assert num == BUDGET * TASK.num_problems or (how == "improvement" and num < BUDGET * TASK.num_problems)


@pytest.mark.parametrize("how", GAINS)
async def test_shards_of_whole_blocks_grant_the_same(how: str) -> None:
    parts = GAINS[how]
    whole, shards = await solve(**parts), dict[str, ProblemResult]()
    for offset in (0, 4, 8):
        shards |= await solve(offset=offset, limit=min(4, TASK.num_problems - offset), **parts)
    assert plain(whole) == plain(shards)


async def test_samples_are_those_of_the_list() -> None:
    results = await solve()
    problem = next(iter(TASK.problems(0, 1)))
    many = await controller(strategy=BestOfN(40, PARAMS)).solve(problem)
    granted, listed = results["fake-0"].solution, many.solution
    assert granted is not None and listed is not None
    assert granted.trajectories == listed.trajectories[: len(granted.trajectories)]


@pytest.mark.parametrize("how", ["need", pytest.param("improvement", marks=pytest.mark.heavy)])
async def test_a_run_that_was_interrupted_grants_the_same(how: str, tmp_path: Path) -> None:
    """Finished problems repeat their bids from their lines, and the others run again on their journals."""
    whole = await solve(concurrency=2, **GAINS[how])
    for num_done in range(1, 10, 2):
        journals, done = Journals(tmp_path / str(num_done)), dict[str, ProblemResult]()
        stopped = asyncio.Event()

        def keep(result: ProblemResult, done: dict[str, ProblemResult] = done) -> None:
            if len(done) < num_done:  # noqa: B023 - called within the round
                done[result.problem.id] = result
                journals.done(result.problem.id)  # noqa: B023
            else:
                stopped.set()  # noqa: B023

        engine = FakeEngine(latency=RandomLatency(num_done, 0.002))
        first = controller(journals=journals, concurrency=2, **GAINS[how] | {"engine": engine})
        work = asyncio.ensure_future(first.run_blocks(TASK.problems(0, None), {}, keep))
        await asyncio.wait([work, asyncio.ensure_future(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        journals.close()
        rest = await solve(granted(done), journals=Journals(tmp_path / str(num_done)), **GAINS[how])
        assert plain(done | rest) == plain(whole)
        assert not done.keys() & rest.keys()


def granted(done: Mapping[str, ProblemResult]) -> dict[str, Granted]:
    return {i: granted_of(json.loads(json.dumps(result_line(r)))) for i, r in done.items()}


class CountingEngine(FakeEngine):
    """Counts the rows that are sent to it."""

    num_rows = 0

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Any]:
        self.num_rows += len(requests)
        return await super().generate(requests)


@pytest.mark.parametrize("how", ["need", "improvement", "parcels"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(i, marks=pytest.mark.heavy) for i in (1, 2))])
async def test_journals_that_lost_their_last_lines(how: str, seed: int, tmp_path: Path) -> None:
    """As after a kill between the lines of a round, or a power cut: each journal ends wherever it ends."""
    whole, rng = await solve(**GAINS[how]), random.Random(seed)
    journals = Journals(tmp_path, keep=True)
    await solve(journals=journals, **GAINS[how])
    journals.close()
    num_kept = 0
    for path in sorted((tmp_path / "journal").iterdir()):
        lines = path.read_bytes().splitlines(keepends=True)
        kept = lines[: rng.randint(0, len(lines))]
        path.write_bytes(b"".join(kept))
        num_kept += sum(line.count(b'"call":"generate') for line in kept)
    done = {i: r for i, r in whole.items() if rng.random() < 0.3}
    engine = CountingEngine()
    rest = await solve(granted(done), journals=Journals(tmp_path), **GAINS[how] | {"engine": engine})
    assert plain(done | rest) == plain(whole)
    assert engine.num_rows <= sum(counts(whole).values()) - num_kept or done


async def test_each_grant_is_one_line_of_the_journal(tmp_path: Path) -> None:
    journals = Journals(tmp_path, keep=True)
    results = await solve(journals=journals)
    journals.close()
    for problem_id, result in results.items():
        assert result.solution is not None
        kept = (await Journals(tmp_path).open(problem_id)).grants
        assert tuple(kept) == result.solution.history


async def test_improvement_bids_by_the_pooled_first_samples_of_its_block() -> None:
    """By hand: the rewards of the block's first samples, and of the problem's own."""
    rounds = Rounds(block=4, gain="improvement", prior_weight=3.0)
    results = await solve(rounds=rounds, strategy=BestOfN(BUDGET, Sampling(max_tokens=10)))
    endless = [not c.trajectory.finished for r in results.values() for c in r.candidates]
    assert any(endless) and not all(endless)  # a text without an end counts as 0
    for block in (range(4), range(4, 8), range(8, 10)):
        rewards = {i: rewards_of(results[f"fake-{i}"]) for i in block}
        prior = [x for i in block for x in rewards[i][: rounds.first]]
        for i in block:
            solution = results[f"fake-{i}"].solution
            assert solution is not None
            pooled, *bids = [r for r in solution.history if isinstance(r, RoundRecord)]
            assert list(pooled.first) == rewards[i][: rounds.first]
            num = rounds.first
            for record in bids:
                rise = sum(max(x - max(rewards[i][:num]), 0.0) for x in prior) / len(prior)
                assert record.gain == pytest.approx(3.0 / (num + 3.0) * rise, abs=1e-12)
                num += record.granted


def rewards_of(result: ProblemResult) -> list[float]:
    assert result.solution is not None
    found = [(t.finished, t.reward) for t in result.solution.trajectories]
    return [reward.value if whole and reward else 0.0 for whole, reward in found]


async def test_a_problem_is_given_up_below_the_floor() -> None:
    """The others get what it would have had."""
    whole = await solve(rounds=Rounds(block=10, most=40, first=3))
    best = {i: max(rewards_of(r)[:3]) for i, r in whole.items()}
    floor = sorted({*best.values()})[1]
    results = await solve(rounds=Rounds(block=10, most=40, first=3, give_up={3: floor}))
    given_up = {i for i in best if max(rewards_of(results[i])[:3]) < floor}
    assert given_up and all(len(results[i].candidates) == 3 for i in given_up)
    assert sum(counts(results).values()) == BUDGET * TASK.num_problems


@pytest.mark.parametrize("level", [0.75, 0.9, 0.95])
async def test_a_problem_at_the_floor_goes_on(level: float) -> None:
    parts = {"engine": FakeEngine(), "verifier": FakeVerifier(reward=lambda _, steps: level)}
    results = await solve(rounds=replace(ROUNDS, give_up={1: level}), **parts)
    assert counts(results) == counts(await solve(**parts))


@pytest.mark.parametrize("how", ["need", "improvement", "vote"])
async def test_equal_rewards_everywhere(how: str) -> None:
    """A tie goes to the first problem; where nothing can be gained, nothing is granted."""
    parts = GAINS[how] | {"engine": FakeEngine(), "verifier": Constant()}
    results = await solve(**parts)
    assert plain(results) == plain(await solve(concurrency=1, **parts))
    total = sum(counts(results).values())
    first = ROUNDS.first * TASK.num_problems
    assert total == (first if how == "improvement" else BUDGET * TASK.num_problems)


async def test_problems_that_are_all_solved_at_once() -> None:
    results = await solve(verifier=Constant(1.0))
    assert set(counts(results).values()) == {ROUNDS.first}


class Constant(FakeVerifier):
    """Rewards each step alike."""

    def __init__(self, reward: float = 0.5) -> None:
        super().__init__()
        self._reward = Reward.from_value(reward)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [ScoreReply((self._reward,) * (len(r.steps) - r.num_locked), Usage()) for r in requests]


def test_waiting_for_a_grant_is_no_time_of_a_problem() -> None:
    """One place for four problems: each waits for the others far longer than its limit of seconds."""
    loop = VirtualTimeLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner, patch.object(time, "monotonic", loop.time):
        engine = FakeEngine(latency=lambda *_: 1.0)
        parts: dict[str, Any] = {"limits": Limits(seconds=2.0 * BUDGET), "concurrency": 1, "limit": 4}
        results = runner.run(solve(engine=engine, **parts))
        assert loop.time() >= 4 * BUDGET - 4
    assert {r.stopped_by for r in results.values()} == {None}
    assert plain(results) == plain(asyncio.run(solve(limit=4)))
    for result in results.values():
        num_calls = len(result.candidates) - ROUNDS.first + 1
        assert result.seconds == pytest.approx(num_calls)


async def test_a_failed_problem_that_is_retried_takes_what_is_left(tmp_path: Path) -> None:
    """It gave its parcel back, and others got it: that is not taken away again."""
    whole = await solve(limit=4)
    victim = max(whole, key=lambda i: len(whole[i].candidates))
    question = whole[victim].problem.question
    journals = Journals(tmp_path)
    engine = FailingLater(question, 1)
    failed = await solve(limit=4, engine=engine, journals=journals)
    assert failed[victim].error is not None
    done = {i: r for i, r in failed.items() if i != victim}
    num_lost = sum(r.granted for r in (await journals.open(victim)).grants)
    assert num_lost == 0  # it failed at its first parcel, and gave it back
    assert sum(len(r.candidates) for r in done.values()) + ROUNDS.first == 4 * BUDGET
    again = await solve(granted(done), limit=4, journals=Journals(tmp_path))
    assert again.keys() == {victim} and len(again[victim].candidates) == ROUNDS.first
    assert again[victim].error is None


class FailingLater(FakeEngine):
    """Fails the requests of a question after some calls for it."""

    def __init__(self, question: str, num_good: int) -> None:
        super().__init__()
        self._question, self._num_left = question, num_good

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Any]:
        if requests[0].question == self._question:
            self._num_left -= 1
            if self._num_left < 0:
                return [Failure("Broken", "for the test")] * len(requests)
        return await super().generate(requests)


@pytest.mark.parametrize("limits", [Limits(reward_calls=4), Limits(generated_tokens=60)])
async def test_a_run_that_is_resumed_knows_what_a_limit_withheld(limits: Limits) -> None:
    parts: dict[str, Any] = {"rounds": Rounds(block=4, parcel=3), "limits": limits}
    results = await solve(limit=4, **parts)
    assert any(r.stopped_by for r in results.values())
    for num in range(1, 4):
        done = {i: r for i, r in results.items() if int(i.split("-")[1]) < num}
        rest = await solve(granted(done), limit=4, **parts)
        assert plain(done | rest) == plain(results)


async def test_what_was_granted_and_not_drawn_goes_back() -> None:
    """Of a parcel of 3 one sample is drawn before a limit: 2 are left for the others."""
    block, account = Block(Rounds(parcel=3), 2, BUDGET), Account(Limits())
    one, other = Granting(block, 0), Granting(block, 1)
    bids = [g.ask("1", Bid(gain, 3.0), Journal(), account) for g, gain in ((one, 0.9), (other, 0.1))]
    waiting = [asyncio.ensure_future(bid) for bid in bids]
    await asyncio.sleep(0.001)
    assert waiting[0].result() == 1 and block.board.left == 3.0
    one.end(Journal(), ROUNDS.first + 1)
    assert await waiting[1] == 1 and block.board.left == 2.0


async def test_a_second_bid_beside_one_that_waits_is_refused() -> None:
    granting = Granting(Block(ROUNDS, 2, BUDGET), 0)
    first = asyncio.ensure_future(granting.ask("1", Bid(0.5), Journal(), Account(Limits())))
    await asyncio.sleep(0)
    with pytest.raises(StrategyError, match="an earlier bid"):
        await granting.ask("2", Bid(0.5), Journal(), Account(Limits()))
    first.cancel()


async def test_two_blocks_are_in_flight() -> None:
    """The second begins before the first ends, the third not before one of these is over."""
    seen: list[tuple[str, int]] = []

    async def one(block: list[int]) -> None:
        seen.append(("begins", block[0]))
        await asyncio.sleep(0.001 * (3 - block[0]))
        seen.append(("ends", block[0]))

    await in_blocks([[0], [1], [2]], one)  # type: ignore[list-item, arg-type]
    assert seen.index(("begins", 1)) < seen.index(("ends", 0))
    assert seen.index(("begins", 2)) > min(seen.index(("ends", 0)), seen.index(("ends", 1)))


async def test_a_problem_that_fails_gives_its_samples_back() -> None:
    question = next(iter(TASK.problems(1, 1))).question
    results = await solve(limit=4, engine=FakeEngine(fail_on=question))
    assert results["fake-1"].error is not None
    assert sum(counts(results).values()) == 4 * BUDGET


async def test_limits_hold() -> None:
    results = await solve(limits=Limits(reward_calls=4))
    assert all(r.usage.reward_calls <= 4 for r in results.values())


async def test_a_budget_below_the_first_samples() -> None:
    results = await solve(strategy=BestOfN(1, PARAMS), budget=1)
    assert set(counts(results).values()) == {1}


async def test_no_problem_has_more_than_the_most() -> None:
    """What one may not have goes to the others; where all have the most, samples are left."""
    for most, num in ((6, BUDGET * 10), (3, 3 * 10)):
        results = await solve(rounds=Rounds(block=10, share=1.0, most=most))
        assert max(counts(results).values()) <= most and sum(counts(results).values()) == num
    assert max(counts(await solve()).values()) <= 2 * BUDGET


async def test_a_block_of_one() -> None:
    results = await solve(limit=1)
    assert counts(results) == {"fake-0": BUDGET}


async def test_the_history_holds_the_rounds() -> None:
    results = await solve()
    for result in results.values():
        assert result.solution is not None
        records = granted_of(result_line(result)).records
        assert records == result.solution.history
        assert sum(r.granted * r.cost for r in records) == len(result.candidates) - ROUNDS.first
        assert records[-1].granted == 0 or len(result.candidates) == 2 * BUDGET
