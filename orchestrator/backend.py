"""The backend holds the replicas of a run, a sweep or an endpoint: all that these know of their models."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from orchestrator.observe.tracking import Tracker
from orchestrator.protocols import Engine, EngineConfig, Readout, Task, Verifier, VerifierConfig

ENGINE = "engine"
"""The main policy among the policies of a run; for now the only one."""


@dataclass(frozen=True, slots=True)
class Routing:
    """Counts of the calls to the replicas of one kind: ``home_hits`` to their home, ``spills`` elsewhere.

    ``replicas`` are alive now; the rest counts since the start, or in a difference since the earlier one.
    """

    replicas: int = 0
    calls: int = 0
    rows: int = 0
    home_hits: int = 0
    spills: int = 0
    retried_rows: int = 0
    quarantined_rows: int = 0
    failed_rows: int = 0
    deaths: int = 0

    def __sub__(self, earlier: Routing) -> Routing:
        counts = {f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)}
        return Routing(**counts | {"replicas": self.replicas})

    def summary(self) -> dict[str, float | None]:
        """Return the counts as in ``summary.json``, with the share of calls that went to their home."""
        return asdict(self) | {"home_hit_rate": self.home_hits / self.calls if self.calls else None}


@dataclass(frozen=True, slots=True)
class Used:
    """What the replicas have done since they started; ``later - earlier`` is the part of one run.

    ``generated_tokens`` are those of all replies, also for problems that have not ended; ``routing`` is by
    kind (``engine``, ``verifier``).
    """

    generated_tokens: int = 0
    routing: Mapping[str, Routing] = field(default_factory=dict)

    def __sub__(self, earlier: Used) -> Used:
        routing = {kind: now - earlier.routing.get(kind, Routing()) for kind, now in self.routing.items()}
        return Used(self.generated_tokens - earlier.generated_tokens, routing)


class Backend(Protocol):
    """The replicas of one or more runs. It lives on the event loop that started it."""

    @property
    def engine(self) -> Engine: ...

    @property
    def verifier(self) -> Verifier | None: ...

    @property
    def replicas(self) -> Mapping[str, int]:
        """The number of replicas requested, by kind, as in ``summary.json``."""
        ...

    def num_alive(self) -> int:
        """Return how many replicas accept calls now."""
        ...

    def used(self) -> Used: ...

    def template_notes(self) -> Mapping[str, Mapping[str, str]]:
        """Return, by kind, the deviations from the chat template, as in ``summary.json``."""
        ...

    def trackers(self, num_problems: int, tags: Mapping[str, str]) -> Sequence[Tracker]:
        """Return further trackers of a run of ``num_problems`` on these replicas, such as Ray's metrics.

        ``tags`` name the run and its strategy.
        """
        ...

    async def close(self) -> None:
        """End every replica."""
        ...


class AnyVerifierConfig(Protocol):
    """The configuration of a verifier, wherever it runs: a ReplicaVerifier or a LocalVerifier."""

    @property
    def readout(self) -> Readout | None:
        """None where there is no verifier."""
        ...

    @property
    def knows_answers(self) -> bool:
        """Whether its rewards come from the reference answers; a run must then report that."""
        ...

    @property
    def of_replicas(self) -> VerifierConfig | None:
        """What its replicas are made of; None where it has none."""
        ...

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier | None:
        """Return the verifier of a run. ``references`` are answers by problem id, if it ``knows_answers``."""
        ...


class ReplicaVerifier(VerifierConfig, Protocol):
    """Base of a verifier's configuration whose replicas the backend holds."""

    @property
    def knows_answers(self) -> bool:
        return False

    @property
    def of_replicas(self) -> VerifierConfig | None:
        return None if self.readout is None else self

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier | None:
        return backend.verifier


class LocalVerifier(AnyVerifierConfig, Protocol):
    """Base of the configuration of a verifier that runs in the controller: it has no model."""

    @property
    def knows_answers(self) -> bool:
        return False

    @property
    def of_replicas(self) -> None:
        return None


class Cluster(Protocol):
    """The keys of ``conf/cluster/*.yaml``: where replicas run.

    ``policies`` are engines by name; ``engine`` is the main one, and for now the only one. What only replicas
    need is imported in these methods, so that a mistake in a key is found at once.
    """

    @property
    def grace_s(self) -> float:
        """Seconds that replies in flight may take to return after a signal."""
        ...

    def start(
        self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None
    ) -> Coroutine[Any, Any, Backend]:
        """Start all replicas, and wait until they are ready: ``backend = await cluster.start(...)``.

        What they require (a Ray) is started by the call itself, which blocks for that long. Raises
        ConfigError where the cluster cannot hold them or a model refuses its configuration, and EngineError
        where a replica cannot be started.
        """
        ...

    def survey(self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None) -> str:
        """Describe what would run where, for a person; no replica is started. Raises ConfigError."""
        ...

    def stop(self) -> None:
        """End what ``start`` has started in addition to the replicas; one call is enough."""
        ...


@dataclass(frozen=True, slots=True)
class DirectBackend:
    """An engine and a verifier that exist already, called directly: no replicas, no retries, no counts."""

    engine: Engine
    verifier: Verifier | None = None

    @property
    def replicas(self) -> Mapping[str, int]:
        return {"engine": 1, "verifier": self.num_alive() - 1}

    def num_alive(self) -> int:
        return 1 if self.verifier is None else 2

    def used(self) -> Used:
        return Used()

    def template_notes(self) -> Mapping[str, Mapping[str, str]]:
        return {}

    def trackers(self, num_problems: int, tags: Mapping[str, str]) -> Sequence[Tracker]:
        return ()

    async def close(self) -> None:
        await self.engine.close()
        if self.verifier is not None:
            await self.verifier.close()
