"""Ctrl-C, SIGTERM and SIGHUP: calls in flight get some time to finish, then the work ends."""

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
    """Let the signals of ``afterwards`` cancel ``work``; yield the list of those caught so far.

    After the first signal no new call is made, and calls in flight have ``grace_s`` seconds to finish; a
    second signal cuts that short. Further signals are ignored until the process ends: what is left to do is
    short, and makes the run readable. Without a signal, ``afterwards`` has their next handlers.
    """
    loop, caught = asyncio.get_running_loop(), list[signal.Signals]()
    draining: list[asyncio.Task[None]] = []  # a loop keeps only weak references to its tasks

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

    # Not with the loop's own handlers: removing one leaves the default, which kills, for a moment.
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
    """Cancel ``work`` once the gate is broken; other calls in flight get ``grace_s`` seconds to finish."""
    await gate.breaks()
    milestones.out_of_replicas(str(gate.broken), gate.num_open)
    await _drain(work, gate, grace_s)


async def _drain(work: asyncio.Future[None], gate: Gate, grace_s: float) -> None:
    """Cancel ``work`` as soon as no call is in flight, or after ``grace_s`` seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(gate.drained(), grace_s)
    work.cancel()


async def unless_stopped(work: Coroutine[Any, Any, T], numbers: Collection[signal.Signals]) -> T | None:
    """Return what ``work`` returns; None if a signal came first, which cancels ``work``.

    It returns, or raises CancelledError where it is cancelled itself, when ``work`` has ended.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    before = {
        number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel)) for number in numbers
    }
    try:
        await asyncio.wait([task])
        return None if task.cancelled() else await task
    except asyncio.CancelledError:  # Ctrl-C, by way of the runner: what ``work`` closes must not come later
        task.cancel()
        await asyncio.wait([task])
        raise
    finally:
        task.cancel()
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by a library in C
