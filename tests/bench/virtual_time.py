"""An event loop whose clock jumps: what only waits takes no time, and a simulation is over soon."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Tells the clock to jump by what the loop would have waited for its next timer."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events: list[tuple[selectors.SelectorKey, int]] = super().select(0 if timeout else timeout)
        if timeout and not events:
            self._jump(timeout)
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """``time`` is 0 at first and stands still while anything is to be done; sleeping makes it jump."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self._forward))

    def time(self) -> float:
        return self._now

    def _forward(self, seconds: float) -> None:
        self._now += seconds


def run_at_once(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
