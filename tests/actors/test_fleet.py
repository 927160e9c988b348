"""Where a fleet sends its calls when something has gone wrong, with replicas that are no processes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from actors.jobs import Life
from actors.replica import Raised
from actors.routing import ranking
from orchestrator.protocols import Completion, GenerateRequest
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
