"""What a fleet needs from what runs its replicas: Ray actors, threads, or a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from actors.pool.placement import ClusterConfig, ReplicaSpec, Resources
from actors.pool.replica import Raised, ReplicaInfo, Restarted
from orchestrator.protocols import Method
from orchestrator.types import Overhead


class ReplicaError(Exception):
    """A call to a replica that got no reply: ``type`` and ``message`` say why, in one line."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.type = kind
        self.message = message


class ReplicaDied(ReplicaError):
    """The replica died under the call, or with ``before`` before the call reached it.

    ``is_final``: the handle will not reach a successor; another must be requested.
    """

    def __init__(self, message: str, *, before: bool = False, is_final: bool = False) -> None:
        super().__init__("ReplicaDeath", message)
        self.before = before
        self.is_final = is_final


class Handle(Protocol):
    """One replica, from the outside. A successor may take its place under the same handle when it has died.

    Calls raise ReplicaDied or ReplicaError and nothing else; cancelling ``ask`` cancels the engine's call.
    """

    async def ready(self) -> ReplicaInfo:
        """Make the engine at the first call and describe it, or say that it could not be made."""
        ...

    async def ask(self, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Restarted: ...

    async def release(self, home: str) -> Overhead: ...

    async def pulse(self) -> int | Restarted | None:
        """Return the engine's token counter, None where it has none; also while ``ask`` computes.

        While ``ready`` makes the engine: a Restarted, which says what it is doing.
        """
        ...

    def is_placed(self) -> bool:
        """Return whether it has what it reserves. May block."""
        ...

    async def close(self) -> None:
        """Let the engine close."""
        ...

    def kill(self, *, restart: bool) -> None:
        """End the replica at once, whatever it does; with ``restart`` it gets a successor."""
        ...


class Host(Protocol):
    """The place where replicas run."""

    def place(self, spec: ReplicaSpec, name: str, config: ClusterConfig) -> Handle:
        """Request one replica, which may be there later."""
        ...

    def living_nodes(self) -> Mapping[str, Resources]:
        """Return the resources of each living node, by its id. May block."""
        ...

    def free(self) -> str:
        """Say what no replica has reserved at the moment, for a person. May block."""
        ...

    async def lost(self) -> str:
        """Return why, once no replica can be expected any more; otherwise never."""
        ...
