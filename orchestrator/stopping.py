"""Ctrl-C, SIGTERM and SIGHUP: what is in flight may come back for a while, then the work ends."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from orchestrator import milestones
from orchestrator.gate import Gate

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

    def handle(number: signal.Signals) -> None:
        caught.append(number)
        if len(caught) > 1:
            work.cancel()
            return
        gate.close()
        draining.append(loop.create_task(_drain(work, gate, grace_s)))
        milestones.preempted(number.name, grace_s, gate.num_open)

    for number in afterwards:
        loop.add_signal_handler(number, handle, number)
    try:
        yield caught
    finally:
        for task in draining:
            task.cancel()
        for number, handler in afterwards.items():
            loop.remove_signal_handler(number)
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
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        await asyncio.wait([task])
        return None if task.cancelled() else await task
    finally:
        task.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)
