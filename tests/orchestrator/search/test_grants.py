"""Samples that are granted across problems: the same for any concurrency, order, shard and interruption."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.allocation.rounds import Rounds
from orchestrator.outcome import ProblemResult
from orchestrator.search.account import Limits
from orchestrator.search.controller import Controller
from orchestrator.storage.journal import Journals
from orchestrator.storage.result_lines import granted_of, result_line
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier, RandomLatency
from orchestrator.types import Granted, Sampling
from strategies import BestOfN, SelfConsistency

TASK = FakeTask(num_problems=10)
PARAMS = Sampling(max_tokens=64)
ROUNDS = Rounds(block=4)
BUDGET = 5


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


@pytest.mark.parametrize("concurrency", [1, 2, 8])
async def test_the_same_grants_for_any_concurrency_and_order(concurrency: int) -> None:
    """One place is enough: a problem that waits holds none."""
    expected = plain(await solve())
    for seed in range(2):
        engine = FakeEngine(latency=RandomLatency(seed, 0.002))
        assert plain(await solve(concurrency=concurrency, engine=engine)) == expected


async def test_shards_of_whole_blocks_grant_the_same() -> None:
    whole, first, rest = await solve(), await solve(limit=4), await solve(offset=4)
    assert plain(whole) == plain(first | rest)


async def test_samples_are_those_of_the_list() -> None:
    results = await solve()
    problem = next(iter(TASK.problems(0, 1)))
    many = await controller(strategy=BestOfN(40, PARAMS)).solve(problem)
    granted, listed = results["fake-0"].solution, many.solution
    assert granted is not None and listed is not None
    assert granted.trajectories == listed.trajectories[: len(granted.trajectories)]


async def test_a_run_that_was_interrupted_grants_the_same(tmp_path: Any) -> None:
    """Finished problems repeat their bids from their lines, and the others run again on their journals."""
    whole = await solve(concurrency=2)
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
        first = controller(engine=engine, journals=journals, concurrency=2)
        work = asyncio.ensure_future(first.run_blocks(TASK.problems(0, None), {}, keep))
        await asyncio.wait([work, asyncio.ensure_future(stopped.wait())], return_when=asyncio.FIRST_COMPLETED)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        journals.close()
        finished = {i: granted_of(result_line(r)) for i, r in done.items()}
        rest = await solve(finished, journals=Journals(tmp_path / str(num_done)))
        assert plain(done | rest) == plain(whole)
        assert not done.keys() & rest.keys()


async def test_a_problem_that_fails_gives_its_samples_back() -> None:
    question = next(iter(TASK.problems(1, 1))).question
    results = await solve(limit=4, engine=FakeEngine(fail_on=question))
    assert results["fake-1"].error is not None
    assert sum(counts(results).values()) == 4 * BUDGET


async def test_limits_hold() -> None:
    results = await solve(limits=Limits(reward_calls=4))
    assert all(r.usage.reward_calls <= 4 for r in results.values())


async def test_votes_bid_by_their_doubt() -> None:
    strategy = SelfConsistency(BUDGET, PARAMS)
    results = await solve(strategy=strategy, rounds=Rounds(block=4, gain="vote"), verifier=None)
    assert sum(counts(results).values()) == BUDGET * TASK.num_problems


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
