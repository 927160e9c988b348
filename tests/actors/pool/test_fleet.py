"""Where a fleet sends its calls when something has gone wrong, with replicas that are no processes."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.pool.fleet import Fleet
from actors.pool.handles import Host
from actors.pool.jobs import Died, Life
from actors.pool.member import Member
from actors.pool.placement import ClusterConfig, ReplicaSpec
from actors.pool.pool import PooledEngine
from actors.pool.replica import Raised
from actors.pool.routing import ranking
from orchestrator.observe.events import EVENTS as EVENTS_FILE
from orchestrator.observe.events import recorded
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import NO_REPLICA, Completion, Failure, GenerateRequest
from orchestrator.search.account import Limits
from orchestrator.search.controller import Controller
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Overhead, Sampling, Usage
from strategies.best_of_n import BestOfN
from tests.actors.fake_members import FakeMember, fake_fleet


def request(home: str, question: str) -> GenerateRequest:
    return GenerateRequest(home, question, "", (), Sampling(), 0, "\n", None)


async def test_a_full_fleet_asks_again_where_it_failed_rather_than_wait() -> None:
    """Others would wait behind it, whatever room there is."""
    free = asyncio.Event()

    async def answer(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any] | Raised:
        if rows[0].question == "long":
            await free.wait()
        if rows[0].question == "bad" and len(member.calls) == 1:
            return Raised("ValueError", "bad", member.name)
        return [Completion((), Usage(generated_tokens=1)) for _ in rows]

    fleet = fake_fleet(answer, num=2, max_in_flight=1)
    await fleet.start()
    at_home = next(f"p{i}" for i in range(99) if ranking(f"p{i}", ("engine-0", "engine-1"))[0] == "engine-1")
    long = asyncio.create_task(fleet.ask("generate", at_home, [request(at_home, "long")]))
    while fleet.num_rows < 1:
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        (reply,) = await fleet.ask("generate", "b", [request("b", "bad")])
        assert isinstance(reply, Completion)
        assert len(await fleet.ask("generate", "c", [request("c", "good")])) == 1
    assert not long.done()
    free.set()
    await long
    await fleet.close()


async def test_a_fleet_without_replicas_says_so_and_one_that_is_closed_says_something_else() -> None:
    """The one stops a run, whose problems stay open; the other is how a run ends."""

    async def answer(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any] | Raised:
        return [Completion((), Usage(generated_tokens=1)) for _ in rows]

    def lose(member: FakeMember) -> None:
        member.life, member.lost = None, f"{member.name} is lost"
        member.on_change()

    fleet = fake_fleet(answer, num=2)
    await fleet.start()
    one, two = fleet.members.values()
    async with asyncio.timeout(10):
        lose(one)  # type: ignore[arg-type]
        assert isinstance((await fleet.ask("generate", "a", [request("a", "q")]))[0], Completion)
        two.life = None  # and may come back
        waiting = [asyncio.create_task(fleet.ask("generate", x, [request(x, "q")])) for x in "ab"]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        lose(two)  # type: ignore[arg-type]
        lost = Failure(NO_REPLICA, "engine-0 is lost; engine-1 is lost")
        assert [await task for task in waiting] == [[lost], [lost]]
        assert fleet.stats().failed_rows == 0  # of no request
        await fleet.close()
        closed = Failure("ReplicaDeath", "engine-0 is closed; engine-1 is closed")
        assert await fleet.ask("generate", "a", [request("a", "q")]) == [closed]


Event = tuple[str, str, int]
"""What happens, the problem that it happens to, and how many tokens it takes."""

KINDS = ("call", "death", "cancel", "ahead", "release")
EVENTS = st.tuples(st.sampled_from(KINDS), st.sampled_from("abc"), st.integers(0, 40))


@given(st.lists(EVENTS, max_size=12))
def test_each_problem_has_its_own_overhead_and_all_have_the_fleets(events: list[Event]) -> None:
    """Whatever happens in whatever order, and once: an id that comes again begins at nothing."""
    asyncio.run(check_overheads(events))


async def check_overheads(events: Sequence[Event]) -> None:
    fleet, expected = fake_fleet(Troubled(), sampler="stream"), defaultdict[str, Overhead](Overhead)
    await fleet.start()
    released: list[Overhead] = []
    for kind, home, num in [*events, *(("release", home, 0) for home in "abc")]:
        if kind == "release":
            released.append(await fleet.release(home))
            assert released[-1] == expected.pop(home, Overhead())
        elif kind == "ahead":
            for name in fleet._served.get(home, ()):
                cast(FakeMember, fleet.members[name]).in_vain[home] += num
                expected[home] += Overhead(speculated_tokens=num)
        else:
            expected[home] += await ask(fleet, kind, home, num)
    assert sum(released, Overhead()) == fleet.overhead
    assert not fleet._overheads and not fleet._served
    await fleet.close()


class Troubled:
    """Answers; but dies under a question of a death, once, and never answers one of a cancelled call."""

    def __init__(self) -> None:
        self.dying = False

    async def __call__(self, member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any] | Died:
        kind, _, num = rows[0].question.partition(" ")
        self.dying = kind == "death" and not self.dying
        if self.dying:
            return member.die(life, int(num))
        if kind == "cancel":
            member.spent = int(num)
            await asyncio.get_running_loop().create_future()
        return [Completion((), Usage(generated_tokens=1)) for _ in rows]


async def ask(fleet: Fleet, kind: str, home: str, num: int) -> Overhead:
    """Asks for one row; what that costs in vain."""
    asked = asyncio.create_task(fleet.ask("generate", home, [request(home, f"{kind} {num}")]))
    if kind != "cancel":
        assert len(await asked) == 1
        return Overhead(retried_tokens=num) if kind == "death" else Overhead()
    while not fleet.num_rows:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    return Overhead(speculated_tokens=num)


async def test_a_cancelled_call_counts_the_replies_that_its_retried_rows_had_already() -> None:
    async def answer(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any] | Raised:
        if len(rows) > 1:
            return Raised("ValueError", "bad", member.name)
        if rows[0].question == "long":
            await asyncio.get_running_loop().create_future()
        return [Completion((), Usage(generated_tokens=5))]

    fleet = fake_fleet(answer)
    await fleet.start()
    rows = [request("p", question) for question in ("short", "long", "short")]
    asked = asyncio.create_task(fleet.ask("generate", "p", rows))
    while fleet.stats().calls < 4 or fleet.num_rows > 1:
        await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await fleet.release("p") == fleet.overhead == Overhead(speculated_tokens=10)
    await fleet.close()


async def test_two_points_on_one_warm_fleet_have_each_its_own_overhead() -> None:
    """A sweep's points have the same problems: what one cost in vain is not told again by the next."""

    async def never(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any]:
        member.spent = 7 * len(rows)
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    fleet = fake_fleet(never)
    await fleet.start()
    points: list[dict[str, ProblemResult]] = []
    for seed in range(2):
        results: list[ProblemResult] = []
        controller = Controller(
            BestOfN(num_samples=4, sampling=Sampling(max_tokens=16)),
            PooledEngine(fleet),
            FakeVerifier(),
            task := FakeTask(num_problems=3),
            seed=seed,
            limits=Limits(seconds=0.01),
        )
        await controller.run(task.problems(0, None), results.append)
        points.append({r.problem.id: r for r in results})
    for results_of in points:
        assert len(results_of) == 3
        assert {r.stopped_by for r in results_of.values()} == {"seconds"}
        assert [r.overhead for r in results_of.values()] == [Overhead(speculated_tokens=28)] * 3
    assert fleet.overhead == Overhead(speculated_tokens=2 * 3 * 28)
    await fleet.close()


async def test_replies_that_a_cancelled_call_had_received_are_overhead() -> None:
    """A call that is retried one request a call may be cancelled when a part of it has its replies."""
    stuck = asyncio.Event()

    async def answer(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any] | Raised:
        if len(rows) > 1:
            return Raised("ValueError", "bad", member.name)
        if rows[0].question == "slow":
            stuck.set()
            await asyncio.get_running_loop().create_future()
        return [Completion((), Usage(generated_tokens=3)) for _ in rows]

    fleet = fake_fleet(answer, num=2)
    await fleet.start()
    rows = [request("a", question) for question in ("quick", "quick", "slow")]
    call = asyncio.create_task(fleet.ask("generate", "a", rows))
    async with asyncio.timeout(10):
        await stuck.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert await fleet.release("a") == Overhead(speculated_tokens=6)
    await fleet.close()


def test_what_becomes_of_a_replica_is_an_event_of_every_run_that_shares_it(tmp_path: Path) -> None:
    """Though the call of one run has found it out."""
    spec = ReplicaSpec("engine", FakeEngine, 1)
    member = Member("engine-0", spec, ClusterConfig(), lambda: None, cast(Host, None))
    runs = [tmp_path / name for name in "ab"]
    for run_dir in runs:
        run_dir.mkdir()
    with recorded(runs[0], "info"), recorded(runs[1], "info"):
        member.give_up("engine-0 is lost")
    told = [
        [json.loads(line)["event"] for line in (run / EVENTS_FILE).read_text().splitlines()] for run in runs
    ]
    assert told == [["replica_lost"]] * 2
