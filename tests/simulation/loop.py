"""An event loop in virtual time that can be left before any callback, and a clock for everything else."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tests.bench.virtual_time import VirtualTimeLoop
from tests.simulation.fate import Fate


class _Counted(deque[Any]):
    """Callbacks that are ready; taking one is a step of the driver."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate

    def popleft(self) -> Any:
        self._fate.step()
        self._fate.leave()
        return super().popleft()


class SteppedLoop(VirtualTimeLoop):
    """Takes one step of ``fate`` a callback; never waits, not even for what can never come."""

    def __init__(self, fate: Fate) -> None:
        super().__init__()
        self._fate = fate
        self._ready = _Counted(fate)

    def _run_once(self) -> None:
        if not (self._ready or self._scheduled or self._stopping):  # type: ignore[attr-defined]
            assert self._fate.is_dead, "everything waits, and nothing is going to happen"
            self.stop()
        super()._run_once()  # type: ignore[misc]

    def settle(self) -> None:
        """Runs what was ready when the loop was left, such as a callback that stops it."""
        self.call_soon(self.stop)
        self.run_forever()


async def _in_this_thread(work: Callable[..., Any], *args: Any) -> Any:
    await asyncio.sleep(0)
    return work(*args)


@contextmanager
def virtual_clock(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """``time.monotonic`` is the loop's clock inside, and work for other threads is done in this one."""
    with patch.object(time, "monotonic", loop.time), patch.object(asyncio, "to_thread", _in_this_thread):
        yield
