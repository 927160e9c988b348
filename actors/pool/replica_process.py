"""What runs inside a Ray actor: one replica, whose requests and replies are pickled here."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Mapping
from functools import partial
from typing import Any

import ray

from actors.pool.replica import Raised, Replica, ReplicaInfo, Restarted
from orchestrator.protocols import Method
from orchestrator.types import Overhead


class ReplicaProcess:
    """One engine or verifier in a process.

    The factory arrives pickled and is read after ``environ`` is set: libraries that read their number of
    threads when they are imported find it.
    """

    def __init__(self, factory: bytes, environ: Mapping[str, str]) -> None:
        os.environ.update(environ)
        node_id = ray.get_runtime_context().get_node_id()
        self._replica = Replica(partial(_unpickled, factory), node_id, _exit)

    async def ready(self) -> ReplicaInfo:
        return await self._replica.ready()

    async def ask(self, method: Method, requests: bytes) -> bytes | Raised | Restarted:
        """Return the pickled replies of ``engine.<method>(requests)``, as many as there are requests.

        Pickled here and not by Ray, which takes several times as long for small frozen values.
        """

        async def packed() -> bytes:
            return pickle.dumps(await self._replica.answer(method, pickle.loads(requests)), protocol=5)

        return await self._replica.guarded(method, packed)

    async def release(self, home: str) -> Overhead:
        return await self._replica.release(home)

    async def pulse(self) -> int | Restarted | None:
        """Return the token counter; runs in its own thread, beside ``ask``."""
        return await self._replica.pulse()

    async def close(self) -> None:
        await self._replica.close()


def _unpickled(factory: bytes) -> Any:
    return pickle.loads(factory)()


def _exit() -> None:
    """Exit: Ray replaces only processes that are dead."""
    try:
        logging.shutdown()
    finally:
        os._exit(1)
