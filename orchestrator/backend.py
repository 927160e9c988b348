"""Who holds the replicas: all that a run, a sweep or an endpoint knows of its models."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from orchestrator.errors import ConfigError
from orchestrator.observe.tracking import Tracker
from orchestrator.protocols import AsksPolicy, Engine, EngineConfig, Readout, Task, Verifier, VerifierConfig
from orchestrator.suggest import nearest
from orchestrator.types import ENGINE


@dataclass(frozen=True, slots=True)
class Routing:
    """How calls were routed to the replicas of one kind: ``home_hits`` to their home, ``spills`` elsewhere.

    ``replicas`` is the number alive now; the rest counts from the start, or in a difference from the
    earlier value.
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
        """Return the entry of ``summary.json``, with the share of calls that went to their home."""
        return asdict(self) | {"home_hit_rate": self.home_hits / self.calls if self.calls else None}


@dataclass(frozen=True, slots=True)
class Used:
    """What the replicas have done since they started; ``later - earlier`` is one run's part of it.

    ``generated_tokens`` are those of all replies, including unfinished problems; ``routing`` is by kind
    (``engine``, ``verifier``).
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
    def policies(self) -> Mapping[str, Engine]:
        """All engines by name; ``engine`` is the main one."""
        ...

    @property
    def verifier(self) -> Verifier | None: ...

    @property
    def replicas(self) -> Mapping[str, int]:
        """How many replicas were requested, by kind, as in ``summary.json``."""
        ...

    def num_alive(self) -> int:
        """Return how many replicas take calls now."""
        ...

    def used(self) -> Used:
        """Return what the replicas have done so far."""
        ...

    def template_notes(self) -> Mapping[str, Mapping[str, str]]:
        """Return, by kind, where prompts differ from the chat template; as in ``summary.json``."""
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
        """None without a verifier."""
        ...

    @property
    def knows_answers(self) -> bool:
        """Whether its rewards use the reference answers; the files of the run must then say so."""
        ...

    @property
    def of_replicas(self) -> VerifierConfig | None:
        """The configuration of its replicas; None if it has none."""
        ...

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier | None:
        """Return a run's verifier; ``references`` are the answers by problem id, if it ``knows_answers``."""
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


def asked_policies(
    policies: Mapping[str, EngineConfig], verifier: AnyVerifierConfig
) -> Mapping[str, EngineConfig]:
    """Return the policies; that which the verifier asks a question has it, and checks it while it loads.

    Raises ConfigError where there is no such policy, or where it cannot answer.
    """
    if not isinstance(verifier, AsksPolicy):
        return policies
    if (name := verifier.policy) not in policies:
        raise ConfigError(
            "verifier.policy", name, f"must be {' or '.join(policies)}{nearest(name, policies)}"
        )
    return {**policies, name: verifier.asking(policies[name])}


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

    ``policies`` are engines by name; ``engine`` is the main one. Modules that only the replicas need are
    imported in these methods, so that a mistake in a key is reported at once.
    """

    @property
    def grace_s(self) -> float:
        """Seconds that calls in flight may take to finish after a signal."""
        ...

    def start(
        self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None
    ) -> Coroutine[Any, Any, Backend]:
        """Start all replicas and wait until they are ready: ``backend = await cluster.start(...)``.

        What they run on (Ray) is started by the call itself, before the await, and blocks. Raises ConfigError
        if the cluster has no room for them or a model refuses its configuration, and EngineError if a
        replica cannot be started.
        """
        ...

    def survey(self, policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None) -> str:
        """Describe in one line what would run where; no replica is started. Raises ConfigError."""
        ...

    def stop(self) -> None:
        """End what ``start`` has started beside the replicas; one call is enough for several starts."""
        ...


@dataclass(frozen=True, slots=True)
class DirectBackend:
    """Engines and a verifier that exist already, called directly: no replicas, no retries, no counts.

    ``others`` are the further policies by name.
    """

    engine: Engine
    verifier: Verifier | None = None
    others: Mapping[str, Engine] = field(default_factory=dict)

    @property
    def policies(self) -> Mapping[str, Engine]:
        return {ENGINE: self.engine, **self.others}

    @property
    def replicas(self) -> Mapping[str, int]:
        return {ENGINE: 1, "verifier": int(self.verifier is not None)} | dict.fromkeys(self.others, 1)

    def num_alive(self) -> int:
        return sum(self.replicas.values())

    def used(self) -> Used:
        return Used()

    def template_notes(self) -> Mapping[str, Mapping[str, str]]:
        return {}

    def trackers(self, num_problems: int, tags: Mapping[str, str]) -> Sequence[Tracker]:
        return ()

    async def close(self) -> None:
        for engine in {id(engine): engine for engine in self.policies.values()}.values():
            await engine.close()
        if self.verifier is not None:
            await self.verifier.close()
