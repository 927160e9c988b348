"""Processes for questions that may take forever: started when needed, killed when they take too long.

``pebble.ProcessPool`` kills a task that takes too long, too. These workers are kept for what it does not
have: limits of CPU time (a busy machine does not make an answer fail) and of memory, and lines of JSON in
place of pickles, so that a text that takes over a worker can return an answer and nothing else.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import queue
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import GradingError
from orchestrator.tasks.grading.worker import READY

ROOT = Path(__file__).parents[3]
WORKER = "orchestrator.tasks.grading.worker"
START_SECONDS = 120.0
# The worker counts CPU time; this is for one that gets none, because the machine is overloaded or stopped it.
WALL_FACTOR = 12.0


class WorkerProcess:
    """One process and its pipes; used by one thread at a time."""

    def __init__(self, seconds: float) -> None:
        """Start it and wait until it is ready. Raises GradingError where it does not start."""
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", WORKER, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            process_group=0,  # Ctrl-C is for the run, which ends its workers itself
        )
        if self._read_line(START_SECONDS) != READY:
            self.close()
            raise GradingError(f"python -m {WORKER} did not start; its output is shown above")

    def ask(self, question: Mapping[str, Any], wall_seconds: float) -> dict[str, Any] | None:
        """Return the reply; None where the process ended or did not reply in time; it is then useless."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self._read_line(wall_seconds)
        return dict(json.loads(line)) if line else None

    def close(self) -> None:
        """Kill the process and wait for its end."""
        self._process.kill()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # the last line was never read
            self._process.stdin.close()
        self._process.wait()

    def _read_line(self, seconds: float) -> str:
        """Return a line without its end; empty at the end of the output, and after ``seconds``."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        if not poll.poll(1000 * seconds):
            return ""
        return self._process.stdout.readline().decode().rstrip("\n")


class GradingPool:
    """At most ``num_workers`` processes; a question gets ``seconds`` of CPU time of one of them.

    It can be used from any event loop, and from several one after another: a thread waits for each process. A
    process that dies during a question is replaced for the next one.
    """

    def __init__(self, num_workers: int, seconds: float) -> None:
        self._seconds = seconds
        self._num_workers = num_workers
        self._threads: ThreadPoolExecutor | None = None
        self._idle: queue.SimpleQueue[WorkerProcess] = queue.SimpleQueue()
        self._workers: set[WorkerProcess] = set()
        self._lock = threading.Lock()
        self._closed = False
        atexit.register(self.close)

    @property
    def _num_running(self) -> int:
        """How many processes there are now."""
        return len(self._workers)

    async def ask(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the reply; None where the question took too long. Raises GradingError without a worker."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._num_workers, thread_name_prefix="grading")
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)

    def close(self) -> None:
        """End every process. The pool cannot be used any more."""
        atexit.unregister(self.close)
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.close()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any] | None:
        worker = self._take()
        reply = worker.ask(question, WALL_FACTOR * self._seconds)
        if reply is not None:
            self._idle.put(worker)
            return reply
        with self._lock:
            is_known = worker in self._workers  # else ``close`` has ended it
            self._workers.discard(worker)
        if is_known:
            worker.close()
        return None

    def _take(self) -> WorkerProcess:
        """Return an idle worker, or a new one: there are never more than threads, which is num_workers."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            pass
        worker = WorkerProcess(self._seconds)
        with self._lock:
            if not self._closed:
                self._workers.add(worker)
                return worker
        worker.close()
        raise GradingError("the grading pool is closed")


@lru_cache(maxsize=8)
def shared_pool(num_workers: int, seconds: float) -> GradingPool:
    """Return the pool that every task with these settings uses; its processes end with this one."""
    return GradingPool(num_workers, seconds)
