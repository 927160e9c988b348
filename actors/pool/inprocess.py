"""Replicas as threads of this process, each with its event loop: what ``cluster=inprocess`` builds.

For notebooks, engines behind HTTP, and tests: there is no Ray, nothing to wait for and nothing that listens.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any

from actors.pool.handles import ReplicaDied, ReplicaError
from actors.pool.placement import (
    THREAD_VARIABLES,
    ClusterConfig,
    Factory,
    Number,
    Numbers,
    ReplicaSpec,
    Resources,
    Seconds,
    Whole,
    WholeOrZero,
    described,
    factories_of,
    plan,
)
from actors.pool.pool import Pool
from actors.pool.replica import Raised, Replica, ReplicaInfo, Restarted
from orchestrator.backend import Backend
from orchestrator.protocols import EngineConfig, Method, VerifierConfig
from orchestrator.schema import checked
from orchestrator.types import Overhead

_NODE = "this process"
_Work = Callable[[Replica], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
@checked("cluster")
class InProcessCluster:
    """The keys of ``conf/cluster/inprocess.yaml``. Raises ConfigError on a bad one."""

    engine_replicas: Whole = 1
    verifier_replicas: Whole = 1
    policy_replicas: Numbers = field(default_factory=dict)
    spill_margin: WholeOrZero = 32
    max_in_flight: Whole = 1024
    max_attempts: Whole = 3
    request_timeout_s: Seconds = 300.0
    start_timeout_s: Seconds = 300.0
    grace_s: Number = 2.0

    def _as_pool(self) -> ClusterConfig:
        return ClusterConfig(**asdict(self))

    async def start(self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None) -> Backend:
        """Make all replicas, and wait until they are ready."""
        engine, judge, others = factories_of(policies, verifier)
        host = ThreadHost()
        (spec, *_) = plan(self._as_pool(), engine, judge, host.living_nodes(), others)
        # Libraries read them when they are imported, which is mostly now; what a user has set wins.
        threads = {name: str(spec.num_threads) for name in THREAD_VARIABLES if name not in os.environ}
        os.environ.update(threads)
        try:
            return await Pool.start(self._as_pool(), engine, judge, host, policies=others)
        finally:
            for name in threads:
                os.environ.pop(name, None)

    def survey(self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None) -> str:
        """Say what would run where, for a person."""
        engine, judge, others = factories_of(policies, verifier)
        return f"{described(plan(self._as_pool(), engine, judge, {}, others))} in this process"

    def stop(self) -> None:
        """Do nothing: there is nothing beside the replicas."""


class ThreadHost:
    """This process, as a node that is never lost."""

    def place(self, spec: ReplicaSpec, name: str, config: ClusterConfig) -> ThreadHandle:
        return ThreadHandle(spec.factory, name)

    def living_nodes(self) -> Mapping[str, Resources]:
        return {_NODE: {"CPU": float(_num_cores())}}

    def free(self) -> str:
        return "all cores of this machine"

    async def lost(self) -> str:
        return str(await asyncio.get_running_loop().create_future())  # never


def _num_cores() -> int:
    """Return the number of cores that this process may use; all where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ThreadHandle:
    """A replica in a thread. An engine that dies or hangs gets a successor at the next ``ready``.

    A thread cannot be killed: one that hangs is abandoned, and its replies are discarded.
    """

    def __init__(self, factory: Factory, name: str) -> None:
        self._factory, self._name = factory, name
        self._life: _Life | None = None
        self._may_begin = True

    async def ready(self) -> ReplicaInfo:
        if self._life is None and self._may_begin:
            self._life = _Life(self._factory, self._name)
        info: ReplicaInfo = await self._call(lambda replica: replica.ready())
        return info

    async def ask(self, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Restarted:
        answer: list[Any] | Raised | Restarted = await self._call(lambda r: r.ask(method, requests))
        return answer

    async def release(self, home: str) -> Overhead:
        wasted: Overhead = await self._call(lambda replica: replica.release(home))
        return wasted

    async def pulse(self) -> int | Restarted | None:
        """Read the engine's counter from here: its thread may be busy."""
        return await self._alive().replica.pulse()

    def is_placed(self) -> bool:
        return True

    async def close(self) -> None:
        await self._call(lambda replica: replica.close())

    def kill(self, *, restart: bool) -> None:
        self._may_begin = restart
        life, self._life = self._life, None
        if life is not None:
            life.end("it was killed")

    def _alive(self) -> _Life:
        if self._life is not None and self._life.has_ended:
            self._life = None
        if self._life is None:
            raise ReplicaDied("it has ended", before=True)
        return self._life

    async def _call(self, work: _Work) -> Any:
        return await self._alive().call(work)


class _Life:
    """A thread with an event loop and a replica on it, from its start to its end."""

    def __init__(self, factory: Factory, name: str) -> None:
        self.replica = Replica(factory, _NODE, lambda: self.end("its engine is dead"))
        self._caller = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._lock = threading.Lock()
        self.has_ended = False
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            self._finish()
        finally:  # also where an engine raised what ends a thread
            self.end("its thread has ended")
            self._loop.close()

    def _finish(self) -> None:
        """Cancel what is left on the loop."""
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    def end(self, reason: str) -> None:
        """End the thread as soon as it is idle, and the calls to it at once; callable from any thread."""
        with self._lock:
            if self.has_ended:
                return
            self.has_ended = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        _call_on(self._caller, self._fail_all, reason)

    def _fail_all(self, reason: str) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ReplicaDied(reason))

    async def _contained(self, work: _Work) -> Any:
        """End only the thread where an engine exits its process."""
        try:
            return await work(self.replica)
        except (SystemExit, KeyboardInterrupt) as stop:
            self.end(f"it raised {type(stop).__name__}")

    async def call(self, work: _Work) -> Any:
        """Return what ``work`` returns in the thread; a cancellation reaches it. Raises ReplicaError."""
        waiter = self._caller.create_future()
        with self._lock:
            if self.has_ended:
                raise ReplicaDied("it has ended", before=True)
            done = asyncio.run_coroutine_threadsafe(self._contained(work), self._loop)
        self._waiting.add(waiter)
        done.add_done_callback(lambda done: _call_on(self._caller, _settle, waiter, done))
        try:
            return await waiter
        finally:
            self._waiting.discard(waiter)
            done.cancel()


def _settle(waiter: asyncio.Future[Any], done: Future[Any]) -> None:
    """Pass the outcome of a call on, on the loop of its caller."""
    if waiter.done():
        return
    if done.cancelled():
        waiter.set_exception(ReplicaDied("its thread has ended"))
    elif (error := done.exception()) is not None:
        waiter.set_exception(ReplicaError(type(error).__name__, str(error)))
    else:
        waiter.set_result(done.result())


def _call_on(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> None:
    """Call on a loop, unless that is closed: then there are no waiters."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        return
