"""Getting a file onto the disk without making the event loop wait for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

OnDisk = Callable[[], None]


def sync_file(path: Path) -> None:
    """What anybody has written to the file is on disk when this returns. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """The names of new and renamed files in the folder are on disk, where its file system can do that."""
    with suppress(OSError):
        sync_file(path)


class GroupCommit:
    """The fsync of one file, in a thread: whoever has written to it is told once that is on disk.

    A sync begins as soon as something was written. What is written while it runs is synced together by the
    next one, so that a slow disk makes larger groups and never a queue. Those that wait are told on the event
    loop, in the order in which they wrote. A failure is raised where somebody next has to do with the file;
    nobody who waits is told after it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fsync")
        self._written: list[OnDisk] = []
        self._being_synced: list[OnDisk] = []
        self._syncing: Future[None] | None = None
        self._failure: Exception | None = None

    def add(self, on_disk: OnDisk) -> None:
        """Has what was written so far synced soon, and then ``on_disk`` called. Raises an earlier failure."""
        self.check()
        self._written.append(on_disk)
        if self._syncing is None:
            self._begin()

    def check(self) -> None:
        """Raises what a sync has met with: an OSError, or the error of one that was told."""
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._being_synced, self._written = self._written, []
        self._syncing = self._thread.submit(os.fsync, self._descriptor)

        def end(synced: Future[None]) -> None:
            with suppress(RuntimeError):  # the loop is closed: ``finish`` sees to what is left
                loop.call_soon_threadsafe(self._end, synced)

        self._syncing.add_done_callback(end)

    def _end(self, synced: Future[None]) -> None:
        if synced is self._syncing:
            self._settle(synced)
            if self._written and self._failure is None:
                self._begin()

    def _settle(self, synced: Future[None]) -> None:
        """Tells those who waited for a sync."""
        self._syncing = None
        waiting, self._being_synced = self._being_synced, []
        try:
            synced.result()
            for on_disk in waiting:
                on_disk()
        except Exception as failure:  # noqa: BLE001 - nobody is there to catch it: ``check`` raises it
            self._failure = failure

    def finish(self) -> None:
        """Waits until all is on disk and all are told. Raises what went wrong with that, now or before."""
        if self._syncing is not None:
            with suppress(OSError):
                self._syncing.result()
            self._settle(self._syncing)
        if self._written and self._failure is None:
            self._being_synced, self._written = self._written, []
            self._settle(self._thread.submit(os.fsync, self._descriptor))
        self.check()

    def close(self) -> None:
        """Ends the thread. What was not synced is left as it is, and nobody told."""
        self._syncing = None
        self._thread.shutdown()
