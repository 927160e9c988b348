"""Where a fleet sends its calls when something has gone wrong, with replicas that are no processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.jobs import Life
from actors.replica import Raised
from actors.routing import ranking
from orchestrator.protocols import NO_REPLICA, Completion, Failure, GenerateRequest
from orchestrator.types import Sampling, Usage
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
    long = asyncio.create_task(fleet.ask("generate", [request(at_home, "long")]))
    while fleet.num_rows < 1:
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        (reply,) = await fleet.ask("generate", [request("b", "bad")])
        assert isinstance(reply, Completion)
        assert len(await fleet.ask("generate", [request("c", "good")])) == 1
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
        assert isinstance((await fleet.ask("generate", [request("a", "q")]))[0], Completion)
        two.life = None  # and may come back
        waiting = [asyncio.create_task(fleet.ask("generate", [request(x, "q")])) for x in "ab"]
        await asyncio.sleep(0.05)
        assert not any(task.done() for task in waiting)
        lose(two)  # type: ignore[arg-type]
        lost = Failure(NO_REPLICA, "engine-0 is lost; engine-1 is lost")
        assert [await task for task in waiting] == [[lost], [lost]]
        assert fleet.stats().failed_rows == 0  # of no request
        await fleet.close()
        closed = Failure("ReplicaDeath", "engine-0 is closed; engine-1 is closed")
        assert await fleet.ask("generate", [request("a", "q")]) == [closed]
