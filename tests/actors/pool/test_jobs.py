"""Who is to blame: what counts against a request, and when it has to run alone."""

from __future__ import annotations

import asyncio

import pytest

from actors.pool.fleet import Fleet
from actors.pool.jobs import Died, End, Flight, Job, Life
from actors.pool.replica import Raised, ReplicaInfo
from orchestrator.protocols import Failure

MAX_ATTEMPTS = 3


def life(end: End | None = None) -> Life:
    future: asyncio.Future[End] = asyncio.get_running_loop().create_future()
    if end is not None:
        future.set_result(end)
    return Life(ReplicaInfo(1, "x", "node"), future)


def job(num_rows: int = 1) -> Job:
    return Job("generate", "home", tuple(range(num_rows)))


def died(*, alone: bool, end: End = End.DIED) -> Died:
    return Died("engine-0", life(end), alone, "gone")


async def test_what_happens_in_company_counts_against_nobody() -> None:
    many = job(8).after(Raised("ValueError", "bad")).after(died(alone=False))
    assert many.num_failures == 0
    assert not many.needs_quarantine(1)  # it is split first
    assert [row.requests for row in many.split()] == [(i,) for i in range(8)]


async def test_a_fresh_request_needs_no_quarantine() -> None:
    assert not job().needs_quarantine(MAX_ATTEMPTS)
    assert not job().needs_quarantine(1)


async def test_two_deaths_or_the_last_attempt_isolate_a_request() -> None:
    once = job().after(died(alone=False))
    assert not once.needs_quarantine(MAX_ATTEMPTS)
    assert once.after(died(alone=False)).needs_quarantine(MAX_ATTEMPTS)
    twice = job().after(Raised("ValueError", "1")).after(Raised("ValueError", "2"))
    assert twice.num_failures == MAX_ATTEMPTS - 1
    assert twice.needs_quarantine(MAX_ATTEMPTS)
    assert twice.failure == Failure("ValueError", "2")


@pytest.mark.parametrize(("end", "counts"), [(e, e is not End.NODE_LOST) for e in End])
async def test_a_lost_node_is_nobodys_fault(end: End, counts: bool) -> None:
    suspect = job().after(died(alone=True, end=end))
    assert suspect.num_failures == 1
    assert suspect.avoid == "engine-0"
    assert (await Fleet._pardon(suspect)).num_failures == counts


async def test_how_a_life_ended_is_settled_once() -> None:
    ended = life()
    ended.conclude(End.NODE_LOST)
    ended.conclude(End.SILENT)
    assert await ended.end is End.NODE_LOST


async def test_lost_tokens_are_those_seen_and_not_delivered() -> None:
    one = life()
    one.tokens_seen, one.tokens_delivered = 30, 10
    assert one.lost_tokens == 20
    one.tokens_delivered = 40  # delivered since the last pulse
    assert one.lost_tokens == 0


async def test_another_replica_is_tried_after_an_exception() -> None:
    assert job().after(Raised("TimeoutError", "late", "engine-1")).avoid == "engine-1"


@pytest.mark.parametrize(
    ("seconds", "work", "hung"),
    [(11, 4 * 8 * 100 + 1, True), (11, 4 * 8 * 100, False), (9, 10**6, False), (10**6, 0, False)],
)
async def test_a_long_batch_is_no_hang(seconds: float, work: int, hung: bool) -> None:
    """Late and overtaken, many times over: nothing less is a hang."""
    one = life()
    one.most_work, one.work_done = 100, 50 + work
    task = asyncio.current_task()
    assert task is not None
    flight = Flight(task, begun=1000.0, work_before=50, most_rows=8)
    assert flight.is_hung(one, 1000.0 + seconds, timeout_s=10.0) is hung


async def test_deaths_that_were_nobodys_fault_isolate_nobody() -> None:
    """Nodes that were lost, as soon as that is known, and replicas that had died before they were asked."""
    unknown = life()
    twice = job().after(died(alone=False, end=End.NODE_LOST)).after(Died("engine-0", unknown, False, "gone"))
    assert not twice.needs_quarantine(MAX_ATTEMPTS)
    thrice = twice.after(Died("engine-1", life(End.DIED), False, "restarted", before=True))
    assert not thrice.needs_quarantine(MAX_ATTEMPTS) and thrice.avoid == "engine-1"
    assert thrice.after(died(alone=False)).needs_quarantine(MAX_ATTEMPTS)
    unknown.conclude(End.NODE_LOST)
    assert not thrice.after(died(alone=False)).needs_quarantine(MAX_ATTEMPTS)


async def test_a_life_that_goes_on_has_another_end() -> None:
    """Whoever met with the broken connection learns how that ended, not how the life ends one day."""
    one = life()
    one.tokens_seen, one.tokens_delivered, one.num_rows = 30, 10, 2
    met = Died("engine-0", one, True, "connection reset")
    one.conclude(End.LINK_LOST)
    one.resume(asyncio.get_running_loop().create_future(), 7.0)
    assert await met.end is End.LINK_LOST and not one.end.done()
    assert (one.lost_tokens, one.num_rows, one.last_progress) == (0, 2, 7.0)
