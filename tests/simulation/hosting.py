"""Puts a simulated cluster where the members of a fleet look for their replicas."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import ray.exceptions as rex

from actors import member
from actors.placement import ReplicaSpec
from tests.simulation.cluster import Cluster, Lost, Place


class _Actor:
    """A place in the shape of ``ReplicaActor``."""

    def __init__(self, cluster: Cluster, place: Place) -> None:
        self.kill = place.kill

        async def ask(method: str, requests: bytes) -> Any:
            replies = await place.ask(method, pickle.loads(requests))
            return pickle.dumps(replies, protocol=5) if isinstance(replies, list) else replies

        def remote(method: Callable[..., Coroutine[Any, Any, Any]]) -> SimpleNamespace:
            return SimpleNamespace(remote=lambda *args: asyncio.ensure_future(_as_ray_has_it(lambda: method(*args))))

        self.handle = SimpleNamespace(
            ready=remote(place.ready),
            ask=remote(ask),
            release=remote(place.release),
            pulse=remote(place.pulse),
            close=remote(place.close),
        )
        self.handle.pulse.options = lambda **_: self.handle.pulse


async def _as_ray_has_it(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    try:
        return await work()
    except Lost as error:
        if error.is_final:
            raise rex.RayActorError(error_msg=str(error)) from None
        raise rex.ActorUnavailableError(str(error), None) from None


@contextmanager
def hosted_by(cluster: Cluster) -> Iterator[None]:
    """The members that start inside have their replicas in ``cluster``."""

    def actor(spec: ReplicaSpec, name: str, max_concurrency: int) -> _Actor:
        return _Actor(cluster, cluster.place(name, spec.factory))

    with (
        patch.object(member, "ReplicaActor", actor),
        patch.object(member, "ray", SimpleNamespace(cancel=lambda task: task.cancel())),
        patch.object(member, "living_nodes", lambda: dict.fromkeys(cluster.nodes, {})),
        patch.object(member, "free_resources", lambda: "nothing"),
    ):
        yield
