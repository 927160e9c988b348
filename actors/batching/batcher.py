"""Continuous batching: callers queue jobs, and a worker takes them in between two forwards."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from orchestrator.protocols import Failure

Request = TypeVar("Request")
Reply = TypeVar("Reply")


@dataclass(eq=False, slots=True)
class Pending(Generic[Request, Reply]):
    """One request in progress: the worker sets ``reply``, the batcher sets ``cancelled``."""

    request: Request
    reply: Reply | Failure | None = None
    cancelled: bool = False


class Worker(Protocol[Request, Reply]):
    """Computes jobs. Only one thread calls it, so it needs no locks."""

    def tick(self, arrived: Sequence[Pending[Request, Reply]]) -> list[Pending[Request, Reply]]:
        """Take in new jobs, drop cancelled ones, run one forward. Return the jobs that now have a reply.

        Must make progress: repeated calls end every job.
        """
        ...


@dataclass(eq=False, slots=True)
class _Call(Generic[Request, Reply]):
    jobs: list[Pending[Request, Reply]]
    future: asyncio.Future[None]
    num_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_left = len(self.jobs)


class Batcher(Generic[Request, Reply]):
    """Feeds one worker from any number of concurrent callers; no caller waits for another's jobs to end."""

    def __init__(self, worker: Worker[Request, Reply], executor: ThreadPoolExecutor) -> None:
        self._worker = worker
        self._executor = executor
        self._arrived: list[Pending[Request, Reply]] = []
        self._calls: dict[Pending[Request, Reply], _Call[Request, Reply]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Return the reply to each request, in order. A cancelled caller's jobs are dropped at the next tick.

        Raises RuntimeError once closed, and any unexpected exception of the worker.
        """
        if self._closed:
            raise RuntimeError("the engine is closed")
        if not requests:
            return []
        jobs: list[Pending[Request, Reply]] = [Pending(request) for request in requests]
        call = _Call(jobs, asyncio.get_running_loop().create_future())
        self._calls.update(dict.fromkeys(jobs, call))
        self._arrived.extend(jobs)
        self._ensure_running()
        try:
            await call.future
        finally:
            for job in jobs:
                job.cancelled = self._calls.pop(job, None) is not None
        return [job.reply for job in jobs if job.reply is not None]

    async def close(self) -> None:
        """End the background task. Callers that still wait get a RuntimeError."""
        self._closed = True
        self._fail(RuntimeError("the engine is closed"))
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])

    def _ensure_running(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Tick while a caller waits. An unexpected exception of the worker is raised in every caller."""
        loop = asyncio.get_running_loop()
        try:
            while self._calls:
                arrived, self._arrived = self._arrived, []
                for job in await loop.run_in_executor(self._executor, self._worker.tick, arrived):
                    self._settle(job)
        except Exception as error:  # noqa: BLE001 - raised in every caller that waits
            self._fail(error)
        finally:
            for job in self._calls:
                job.cancelled = True

    def _settle(self, job: Pending[Request, Reply]) -> None:
        call = self._calls.pop(job, None)
        if call is None:
            return
        call.num_left -= 1
        if call.num_left == 0 and not call.future.done():
            call.future.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._arrived.clear()
        for job, call in self._calls.items():
            job.cancelled = True
            if not call.future.done():
                call.future.set_exception(error)
        self._calls.clear()
