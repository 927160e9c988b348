"""Ctrl-C, SIGTERM and SIGHUP: what is in flight may come back for a while, then the work ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from orchestrator.observe import milestones
from orchestrator.search.gate import Gate

Handler = Callable[[int, Any], Any]
T = TypeVar("T")


@contextmanager
def stopped_by_signals(
    work: asyncio.Future[None], gate: Gate, grace_s: float, afterwards: Mapping[signal.Signals, Handler]
) -> Iterator[list[signal.Signals]]:
    """The signals of ``afterwards`` cancel ``work``; those caught so far are in the list.

    After the first one nothing new is asked, and what is in flight has ``grace_s`` seconds to come back; a
    second one cuts that short. Further ones are ignored to the end of the process: what is left to do is
    short, and it is what makes the run readable. Without any, they do next what ``afterwards`` says.
    """
    loop, caught = asyncio.get_running_loop(), list[signal.Signals]()
    draining: list[asyncio.Task[None]] = []  # a loop keeps no hold of its tasks

    def hear(number: int, _frame: object) -> None:
        caught.append(signal.Signals(number))
        loop.call_soon_threadsafe(react, signal.Signals(number), len(caught))

    def react(number: signal.Signals, num_caught: int) -> None:
        if num_caught > 1:
            work.cancel()
            return
        gate.close()
        draining.append(loop.create_task(_drain(work, gate, grace_s)))
        milestones.preempted(number.name, grace_s, gate.num_open)

    # Not by the loop's own handlers: taking one away leaves the default, which kills, for a moment.
    for number in afterwards:
        signal.signal(number, hear)
    try:
        yield caught
    finally:
        for task in draining:
            task.cancel()
        for number, handler in afterwards.items():
            signal.signal(number, signal.SIG_IGN if caught else handler)


async def cut_when_broken(work: asyncio.Future[None], gate: Gate, grace_s: float) -> None:
    """Cancels ``work`` once the gate is broken; what is in flight elsewhere may come back before."""
    await gate.breaks()
    milestones.out_of_replicas(str(gate.broken), gate.num_open)
    await _drain(work, gate, grace_s)


async def _drain(work: asyncio.Future[None], gate: Gate, grace_s: float) -> None:
    """Cancels ``work`` as soon as nothing more can come of it, or the time is up."""
    with suppress(TimeoutError):
        await asyncio.wait_for(gate.drained(), grace_s)
    work.cancel()


async def unless_stopped(work: Coroutine[Any, Any, T], numbers: Collection[signal.Signals]) -> T | None:
    """What ``work`` returns; None where a signal came first: it is cancelled then, and may clean up."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    before = {
        number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel)) for number in numbers
    }
    try:
        await asyncio.wait([task])
        return None if task.cancelled() else await task
    finally:
        task.cancel()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by a library in C
