"""Extra replicas come and go with what there is to do; those that were asked for stay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from actors.pool import scaling
from actors.pool.fleet import Fleet
from actors.pool.jobs import Life
from actors.pool.scaling import Scaler, is_crowded, to_give_back
from orchestrator.protocols import Completion, GenerateRequest
from orchestrator.types import Sampling, Usage
from tests.actors.fake_members import FakeMember, fake_fleet

EXTRA = ("engine-1", "engine-2")


@pytest.mark.parametrize(
    ("idle_s", "leaving"),
    [
        ({"engine-0": 99, "engine-1": 10, "engine-2": 12}, ["engine-2", "engine-1"]),
        ({"engine-0": 0, "engine-1": 9.9, "engine-2": 10}, ["engine-2"]),
        ({"engine-1": 50, "engine-2": 60}, ["engine-2"]),  # engine-0 is dead: one has to be there
        ({"engine-2": 60}, []),
        ({"engine-0": 99}, []),  # it is no extra
    ],
)
def test_idle_extras_leave_and_never_below_the_base(idle_s: dict[str, float], leaving: list[str]) -> None:
    assert to_give_back(idle_s, EXTRA, num_base=1, limit_s=10.0) == leaving
    assert to_give_back(idle_s, EXTRA, num_base=1, limit_s=None) == []


@pytest.mark.parametrize(
    ("loads", "num_queued", "crowded"),
    [([0, 99], 0, False), ([33, 99], 0, True), ([32, 99], 0, False), ([0, 0], 1, True), ([], 0, False)],
)
def test_more_are_wanted_where_even_the_idlest_is_busy(
    loads: list[int], num_queued: int, crowded: bool
) -> None:
    assert is_crowded(loads, num_queued, spill_margin=32) is crowded


def requests(home: str, num: int) -> list[GenerateRequest]:
    return [GenerateRequest(home, "q", "", (), Sampling(), seed, "\n", None) for seed in range(num)]


async def started(gate: asyncio.Event, **keys: Any) -> Fleet:
    async def answer(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any]:
        await gate.wait()
        return [Completion((), Usage(generated_tokens=1)) for _ in rows]

    fleet = fake_fleet(answer, num=1, num_extra=2, **keys)
    await fleet.start()
    fleet.grow()
    return fleet


async def test_a_fleet_gives_back_what_idles_and_asks_again_when_it_is_crowded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scaling, "_PERIOD_S", 0.01)
    gate = asyncio.Event()
    fleet = await started(gate, idle_s=0.1, max_in_flight=4)
    assert fleet.stats().replicas == 3
    await until(lambda: fleet.stats().replicas == 1)
    assert fleet.pids().keys() == {"engine-0"}
    asked = [asyncio.create_task(fleet.ask("generate", f"p{i}", requests(f"p{i}", 4))) for i in range(8)]
    await until(lambda: fleet.stats().replicas == 3)
    gate.set()
    assert [len(replies) for replies in await asyncio.gather(*asked)] == [4] * 8
    await until(lambda: fleet.stats().replicas == 1)
    assert fleet.stats().deaths == 0
    await fleet.close()


async def test_a_replica_at_work_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long its call takes; and what is idle for less than the key says stays."""
    gate = asyncio.Event()
    fleet = await started(gate, idle_s=10.0, spill_margin=0)
    members = fleet.members
    scaler = Scaler(members, 1, fleet._config, lambda: 0)
    asked = [asyncio.create_task(fleet.ask("generate", f"p{i}", requests(f"p{i}", 1))) for i in range(12)]
    await until(lambda: all(m.life and m.life.num_rows for m in members.values()))
    await scaler.step(time.monotonic() + 1000)
    assert fleet.stats().replicas == 3
    gate.set()
    await asyncio.gather(*asked)
    await scaler.step(time.monotonic() + 9)
    assert fleet.stats().replicas == 3
    await scaler.step(time.monotonic() + 11)
    assert fleet.stats().replicas == 1
    await scaler.step(time.monotonic())
    assert fleet.stats().replicas == 1  # nothing is there to do for another
    await fleet.close()


async def until(true: Any) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.005)
