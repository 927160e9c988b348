"""Waiting for other libraries' code, with a time limit."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """A thread that runs actions in order. One that hangs is abandoned, and ends with the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._actions: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._failure: Exception | None = None
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def later(self, action: Callable[[], Any]) -> None:
        """Queue an action without waiting. Raises the failure of an earlier one."""
        self._check()

        def attempt() -> None:
            try:
                if self._failure is None:
                    action()
            except Exception as failure:  # noqa: BLE001 - the next call raises it
                self._failure = failure

        self._actions.put(attempt)

    def wait_for(self, action: Callable[[], Any], seconds: float) -> None:
        """Run an action after all earlier ones, and wait for it. Raises a failure, or TimeoutError."""
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
