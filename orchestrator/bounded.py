"""Waiting for somebody else's code, and no longer than is said."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """A thread that does what it is given, in order. One that hangs is left behind, and ends with us."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._actions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._failure: Exception | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def later(self, action: Callable[[], Any]) -> None:
        """Has it done without waiting. Raises what went wrong with an earlier one."""
        self._check()

        def attempt() -> None:
            try:
                if self._failure is None:
                    action()
            except Exception as failure:  # noqa: BLE001 - whoever comes next is told
                self._failure = failure

        self._actions.put(attempt)

    def wait_for(self, action: Callable[[], Any], seconds: float) -> None:
        """Has it done after all that came before. Raises what went wrong, or TimeoutError."""
        done = threading.Event()
        self.later(action)
        self._actions.put(done.set)
        if not done.wait(seconds):
            raise TimeoutError(f"no answer in {seconds:g} s")
        self._check()

    def _check(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _work(self) -> None:
        while True:
            self._actions.get()()
