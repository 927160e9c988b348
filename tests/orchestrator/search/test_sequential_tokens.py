"""Sequential tokens: a Lamport clock, checked against a schedule that is drawn by hand."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.search.clock import Clock
from orchestrator.search.session import Session
from orchestrator.testing import FakeEngine, RandomLatency
from orchestrator.types import Sampling, Trajectory
from strategies import BestOfN, Greedy
from tests.toy import STRATEGIES, Table, World, load

ONE = Table({}, {"a\n": 1.0})  # a step of two tokens
PARAMS = Sampling(max_tokens=64)


async def steps(session: Session, num: int) -> None:
    """Make a call of ``num`` steps, one row after another in length: its clock is the longest one's."""
    trajectories = [Trajectory(), Trajectory()]
    for _ in range(num):
        trajectories = await session.generate(trajectories, PARAMS)


async def test_a_call_takes_its_longest_row() -> None:
    language = Table({"": {"=1\n": 0.5, "a\n": 0.5}}, {"=1\n": 1.0})
    solution = await World(language).solve(BestOfN(8, Sampling(max_tokens=64)))
    lengths = [t.num_tokens for t in solution.trajectories]
    assert solution.usage.sequential_tokens == max(lengths) < sum(lengths)


async def test_calls_that_wait_for_each_other_add_up() -> None:
    session = World(ONE).session()
    await steps(session, 3)
    assert session.usage.sequential_tokens == 6
    assert session.usage.generated_tokens == 12


async def test_a_fork_begins_at_its_parents_clock_and_the_parent_waits_for_it() -> None:
    session = World(ONE).session()
    await steps(session, 1)
    short, long = session.fork("short"), session.fork("long")
    await asyncio.gather(steps(short, 1), steps(long, 3))
    assert session.usage.sequential_tokens == 2 + 6
    late = session.fork("late")  # the parent has called nothing since
    await steps(late, 1)
    assert session.usage.sequential_tokens == 8
    await steps(session, 1)
    assert session.usage.sequential_tokens == 10


async def test_a_branch_may_follow_another_one() -> None:
    session = World(ONE).session()
    first = session.fork("a")
    await steps(first, 2)
    await steps(session.fork("b", after=first), 1)
    assert session.usage.sequential_tokens == 6


async def test_branches_that_meet_continue_together() -> None:
    session = World(ONE).session()
    short, long = session.fork("short"), session.fork("long")
    await steps(short, 1)
    await steps(long, 3)
    session.meet([short, long])
    await steps(short, 1)
    assert session.usage.sequential_tokens == 8


async def test_calls_of_one_scope_at_once_do_not_wait_for_each_other() -> None:
    session = World(ONE).session()
    await asyncio.gather(steps(session, 1), steps(session, 1))
    assert session.usage.sequential_tokens == 2


async def test_a_call_in_parts_waits_for_each_part() -> None:
    """Under a token limit the rows that do not fit are sent once others have ended."""
    session = World(ONE).session(generated_tokens=100)
    await session.generate([Trajectory()] * 2, PARAMS, to_end=True)
    assert session.usage.sequential_tokens == 100


def test_grandchildren_report_to_everyone_above() -> None:
    reached: list[int] = []
    root = Clock(reached.append)
    child = root.fork(root)
    child.fork(child).reach(7)
    assert (child.now, root.now, reached) == (7, 7, [7])


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "particle_cascade"])
async def test_it_does_not_depend_on_the_order_of_arrival(name: str) -> None:
    """The cascade's does, as its answers do."""
    clocks = set()
    for latency in (None, RandomLatency(0, 0.001), RandomLatency(1, 0.001)):
        world = World(engine=FakeEngine(latency=latency))
        clocks.add((await world.solve(load(name), 5)).usage.sequential_tokens)
    assert len(clocks) == 1


async def test_a_greedy_text_is_its_own_length() -> None:
    usage = (await World().solve(Greedy(64))).usage
    assert usage.sequential_tokens == usage.generated_tokens > 0
