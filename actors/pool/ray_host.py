"""Replicas as Ray actors: where they are placed, how they are called, and what Ray's errors mean."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import ray
import ray.exceptions as rex
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from actors.pool.cluster import answers, control_address, free_resources, is_own, living_nodes
from actors.pool.handles import ReplicaDied, ReplicaError
from actors.pool.placement import GPUS_VARIABLE, THREAD_VARIABLES, ClusterConfig, ReplicaSpec, Resources
from actors.pool.replica import Raised, ReplicaInfo, Restarted
from actors.pool.replica_process import ReplicaProcess
from orchestrator.protocols import Method
from orchestrator.types import Overhead

_DEATHS = (
    rex.RayActorError,
    rex.ActorUnschedulableError,
    rex.ActorPlacementGroupRemoved,
    rex.OutOfMemoryError,
    rex.NodeDiedError,
    rex.WorkerCrashedError,
    rex.ObjectLostError,  # a reply that was on a node when that was lost
)
# Ray's message for a call to an actor known to be dead. A call in flight has lost its connection instead.
_NOT_SENT = "The actor is restarting"
# Ray ignores the preferred node of an actor that reserves nothing at all (seen on 2.60).
_TOKEN_CPU = 0.001
_LOOK_S = 5.0
# For Ray's control service: without it Ray ends its processes, this one too, after 60 s.
_PATIENCE_S = 40.0
_OWN_PATIENCE_S = 5.0


class RayHost:
    """The nodes of the Ray that this process belongs to."""

    def place(self, spec: ReplicaSpec, name: str, config: ClusterConfig) -> RayHandle:
        # A row is at most one call: calls wait in the controller and never in Ray.
        return RayHandle(spec, name, max(1000, 2 * config.max_in_flight))

    def living_nodes(self) -> Mapping[str, Resources]:
        return living_nodes()

    def free(self) -> str:
        return free_resources()

    async def lost(self) -> str:
        """Return once Ray itself is gone: it would end this process a minute after that.

        The control service of a cluster may come back; that of a Ray started here does not.
        """
        address = control_address()
        patience, silent_since = _OWN_PATIENCE_S if is_own() else _PATIENCE_S, None
        while True:
            await asyncio.sleep(_LOOK_S)
            now = asyncio.get_running_loop().time()
            silent_since = None if await asyncio.to_thread(answers, address) else silent_since or now
            if silent_since is not None and now - silent_since >= patience:
                return f"Ray no longer answers at {address}"
            if silent_since is None and is_own() and not await asyncio.to_thread(living_nodes):
                return "the Ray of this run has died"


class RayHandle:
    """A Ray actor that holds one replica, with the placement group that keeps its GPUs together."""

    def __init__(self, spec: ReplicaSpec, name: str, max_concurrency: int) -> None:
        node_id = dict(zip(spec.names, spec.node_ids, strict=False)).get(name)
        environ = dict.fromkeys(THREAD_VARIABLES, str(spec.num_threads))
        environ[GPUS_VARIABLE] = f"{spec.num_gpus:g}"
        if spec.num_gpus == 0:  # Ray leaves the cards visible to an actor that reserves none
            environ["CUDA_VISIBLE_DEVICES"] = ""
        factory = ray.cloudpickle.dumps(spec.factory)  # type: ignore[no-untyped-call]
        self._num_cpus = spec.num_cpus
        self._group = _reserve(spec)  # when nothing else can fail
        self.handle = (
            _remote_class()
            .options(
                num_cpus=spec.num_cpus or (_TOKEN_CPU if node_id else 0),
                # A tensor-parallel engine gives the group's bundles to its own workers.
                num_gpus=0 if spec.num_gpus > 1 else spec.num_gpus,
                max_concurrency=max_concurrency,
                max_restarts=-1,
                max_task_retries=0,  # the fleet retries: it knows which request is to blame
                scheduling_strategy=_strategy(self._group, node_id),
            )
            .remote(factory, environ)
        )

    async def ready(self) -> ReplicaInfo:
        info: ReplicaInfo = await _reply(self.handle.ready.remote())
        return info

    async def ask(self, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Restarted:
        ref = self.handle.ask.remote(method, pickle.dumps(list(requests), protocol=5))
        try:
            answer: bytes | Raised | Restarted = await _reply(ref)
        except asyncio.CancelledError:
            ray.cancel(ref)
            raise
        if not isinstance(answer, bytes):
            return answer
        replies: list[Any] = pickle.loads(answer)
        return replies

    async def release(self, home: str) -> Overhead:
        wasted: Overhead = await _reply(self.handle.release.remote(home))
        return wasted

    async def pulse(self) -> int | Restarted | None:
        pulse: int | Restarted | None = await _reply(
            self.handle.pulse.options(concurrency_group="pulse").remote()
        )
        return pulse

    def is_placed(self) -> bool:
        if self._group is None:
            return not self._num_cpus  # cores alone are reserved without a group: Ray does not say
        state: str = placement_group_table(self._group)["state"]
        return state == "CREATED"

    async def close(self) -> None:
        await _reply(self.handle.close.remote())

    def kill(self, *, restart: bool) -> None:
        """End the process at once, whatever it does; with ``restart`` Ray starts another."""
        if not ray.is_initialized():
            return  # it has ended with Ray, which would be started again for this call
        ray.kill(self.handle, no_restart=not restart)
        if not restart and self._group is not None:
            remove_placement_group(self._group)


async def _reply(ref: Any) -> Any:
    """Return what a call returns. Raises ReplicaDied where Ray reports a death, else ReplicaError."""
    try:
        return await ref
    except _DEATHS as error:
        # A death under which Ray restarts the actor is "unavailable"; any other is for good.
        is_final = not isinstance(error, rex.ActorUnavailableError)
        raise ReplicaDied(_brief(error), before=_NOT_SENT in str(error), is_final=is_final) from error
    except rex.RayError as error:  # a reply that could not be moved
        raise ReplicaError(type(error).__name__, _brief(error)) from error


def _brief(error: Exception) -> str:
    """Shorten Ray's messages, which have many lines; the log has all of them."""
    return " ".join(str(error).split())[:400]


@cache
def _remote_class() -> Any:
    """Give the pulse its event loop and thread: it is read while ``ask`` computes."""
    return ray.remote(concurrency_groups={"pulse": 4})(ReplicaProcess)  # type: ignore[call-overload]


def _reserve(spec: ReplicaSpec) -> PlacementGroup | None:
    """Reserve one bundle a GPU, on one node, or a stage on each. One group a replica: it can join and leave.

    vLLM sorts the bundles by their nodes: a stage's cards are those of neighbouring ranks.
    """
    return placement_group(spec.bundles, strategy=spec.strategy) if spec.bundles else None


def _strategy(group: PlacementGroup | None, node_id: str | None) -> Any:
    if group is not None:
        return PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    if node_id is not None:  # soft: should the node be lost, any other will do
        return NodeAffinitySchedulingStrategy(node_id, soft=True)
    return "SPREAD"
