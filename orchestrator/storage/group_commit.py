"""Getting a file onto the disk without making the event loop wait for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

OnDisk = Callable[[], None]


class GroupCommit:
    """The fsync of one file, in a thread: each writer's callback is called once its data is on disk.

    A sync begins as soon as something was written. What is written while it runs is synced together by the
    next one, so that a slow disk makes larger groups and never a queue. The callbacks run on the event loop,
    in the order of the writes. A failure is raised at the next use of the file; no callback is called
    after it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fsync")
        self._written: list[OnDisk] = []
        self._being_synced: list[OnDisk] = []
        self._syncing: Future[None] | None = None
        self._failure: Exception | None = None

    def add(self, on_disk: OnDisk) -> None:
        """Sync what was written so far soon, and call ``on_disk`` afterwards. Raises an earlier failure."""
        self.check()
        self._written.append(on_disk)
        if self._syncing is None:
            self._begin()

    def check(self) -> None:
        """Raise the failure of an earlier sync: an OSError, or what a callback raised."""
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._being_synced, self._written = self._written, []
        self._syncing = self._thread.submit(os.fsync, self._descriptor)

        def end(synced: Future[None]) -> None:
            with suppress(RuntimeError):  # the loop is closed: ``finish`` handles the rest
                loop.call_soon_threadsafe(self._end, synced)

        self._syncing.add_done_callback(end)

    def _end(self, synced: Future[None]) -> None:
        if synced is self._syncing:
            self._settle(synced)
            if self._written and self._failure is None:
                self._begin()

    def _settle(self, synced: Future[None]) -> None:
        """Call the callbacks that waited for a sync."""
        self._syncing = None
        waiting, self._being_synced = self._being_synced, []
        try:
            synced.result()
            for on_disk in waiting:
                on_disk()
        except Exception as failure:  # noqa: BLE001 - no caller is there to catch it: ``check`` raises it
            self._failure = failure

    def finish(self) -> None:
        """Wait until all is on disk and all callbacks were called. Raises the first failure."""
        if self._syncing is not None:
            with suppress(OSError):
                self._syncing.result()
            self._settle(self._syncing)
        if self._written and self._failure is None:
            self._being_synced, self._written = self._written, []
            self._settle(self._thread.submit(os.fsync, self._descriptor))
        self.check()

    def close(self) -> None:
        """End the thread. What was not synced is left as it is, and its callbacks are not called."""
        self._syncing = None
        self._thread.shutdown()
