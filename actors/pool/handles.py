"""What a fleet needs of whatever runs its replicas: actors of Ray, threads, or a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from actors.pool.placement import ClusterConfig, ReplicaSpec, Resources
from actors.pool.replica import Raised, ReplicaInfo, Restarted
from orchestrator.protocols import Method
from orchestrator.types import Overhead


class ReplicaError(Exception):
    """A call to a replica that brought no reply: ``type`` and ``message`` say why, in one line."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.type = kind
        self.message = message


class ReplicaDied(ReplicaError):
    """The replica died under the call, or with ``before`` before the call reached it.

    ``is_final``: the handle reaches no successor of it, and another must be asked for.
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
        """Makes the engine at the first call, and describes it; also that it could not be made."""
        ...

    async def ask(self, method: Method, requests: Sequence[Any]) -> list[Any] | Raised | Restarted: ...

    async def release(self, home: str) -> Overhead: ...

    async def pulse(self) -> int | Restarted | None:
        """The engine's token counter, None where it has none; also while ``ask`` computes."""
        ...

    async def close(self) -> None:
        """Lets the engine close."""
        ...

    def kill(self, *, restart: bool) -> None:
        """Ends the replica at once, whatever it does; with ``restart`` there will be another."""
        ...


class Host(Protocol):
    """The place where replicas run."""

    def place(self, spec: ReplicaSpec, name: str, config: ClusterConfig) -> Handle:
        """Asks for one replica, which may be there later."""
        ...

    def living_nodes(self) -> Mapping[str, Resources]:
        """What each node has that is alive, by its id. May block."""
        ...

    def free(self) -> str:
        """What no replica has reserved at the moment, for a person. May block."""
        ...

    async def lost(self) -> str:
        """Returns why, once no replica can be expected any more; otherwise never."""
        ...
