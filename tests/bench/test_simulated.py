"""The simulation that the scale figures rest on: its clock, its slots, and what is counted as used."""

from __future__ import annotations

import asyncio
import time

import pytest

from orchestrator.protocols import ScoreRequest
from tests.bench.simulated import SimulatedModel, utilisation
from tests.bench.virtual_time import run_at_once

REQUESTS = [ScoreRequest("p", "q", ("0000000001.\n",), 0)] * 4


def test_waiting_takes_no_time_and_the_clock_shows_it_all_the_same() -> None:
    async def wait() -> list[float]:
        loop, woken = asyncio.get_running_loop(), list[float]()

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append(loop.time())

        await asyncio.gather(sleep(3000), sleep(1000), sleep(2000))
        return woken

    begun = time.monotonic()
    assert run_at_once(wait()) == pytest.approx([1000, 2000, 3000])
    assert time.monotonic() - begun < 5


def test_a_thread_is_heard_of_while_others_wait() -> None:
    async def work() -> str:
        sleeping = asyncio.create_task(asyncio.sleep(1e9))
        done = await asyncio.to_thread(lambda: "done")
        sleeping.cancel()
        return done

    assert run_at_once(work()) == "done"


@pytest.mark.parametrize("num_slots", [1, 2, 4])
def test_rows_share_the_slots_and_what_is_used_adds_up(num_slots: int) -> None:
    model = SimulatedModel(num_slots, seconds=1.0)
    latencies = model._latencies[: len(REQUESTS)]
    assert all(1 <= latency <= 10 for latency in latencies)

    async def work() -> float:
        await model.score(REQUESTS)
        return asyncio.get_running_loop().time()

    end = run_at_once(work())
    assert end >= max(sum(latencies) / num_slots, *latencies) - 1e-9
    assert utilisation([model], 0.0, end) == pytest.approx(sum(latencies) / (end * num_slots))
    if num_slots == 1:
        assert utilisation([model], 0.0, end) == pytest.approx(1)
