"""The interfaces of configurations, which a replica turns into an engine or a verifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from orchestrator.protocols.models import Readout
from orchestrator.steps.rule import StepRule
from orchestrator.types import Params


class EngineConfig(Protocol):
    """A configuration that a replica turns into an engine; picklable."""

    @property
    def takes(self) -> type[Params]:
        """The kind of decoding parameters that its requests must carry."""
        ...

    def build(self) -> Any: ...


@runtime_checkable
class HasWeights(Protocol):
    """A configuration of an engine or a verifier whose model consists of files."""

    def digest(self) -> str | None:
        """Return a digest of the model's files: equal digests, equal models. None where they are missing."""
        ...


@runtime_checkable
class InStages(Protocol):
    """A configuration of an engine or a verifier whose replica may hold its layers on several nodes."""

    @property
    def num_stages(self) -> int:
        """The parts of the replica, one after another (pipeline parallel); each is on one node."""
        ...


@runtime_checkable
class Remote(Protocol):
    """A configuration of an engine whose model runs on a server: its replica needs no card."""

    is_remote: ClassVar[bool]


@runtime_checkable
class MadeForTask(Protocol):
    """A configuration of an engine or a verifier whose model may know one task alone."""

    @property
    def knows_task(self) -> str | None:
        """The module of that task in ``orchestrator.tasks``, such as ``chain``; None: any task."""
        ...


@runtime_checkable
class MayTakeHistory(Protocol):
    """A configuration of an engine that renders prompts with a chat template, or without one."""

    @property
    def takes_history(self) -> bool:
        """Whether they hold earlier turns, as the engine's ``ModelInfo`` will say."""
        ...


@dataclass(frozen=True, slots=True)
class WholeOnly:
    """Why an engine makes whole answers alone: the ``key`` and the ``value`` of its configuration.

    With ``independent`` it has independent samples alone: an answer of greedy decoding is not among them.
    """

    key: str
    value: str
    independent: bool = False


@runtime_checkable
class MayLackPrefixes(Protocol):
    """A configuration of an engine that may be unable to continue a text."""

    @property
    def whole_because(self) -> WholeOnly | None:
        """Why it makes whole answers alone; None: it continues texts."""
        ...


@runtime_checkable
class AsksPolicy(Protocol):
    """A configuration of a verifier that asks the policy's own replicas a question on a prefix."""

    @property
    def policy(self) -> str:
        """The name of the policy."""
        ...

    def asking(self, engine: EngineConfig) -> EngineConfig:
        """Return the policy's configuration, whose replicas check the question when they are loaded."""
        ...


@runtime_checkable
class LimitsSteps(Protocol):
    """A configuration of an engine that may be unable to end steps in some ways."""

    def no_steps_by(self, step: StepRule) -> tuple[str, object, str] | None:
        """Return the key and the value because of which steps cannot end so, and why; None: they can."""
        ...


class VerifierConfig(Protocol):
    """A configuration that a replica turns into a verifier; picklable."""

    @property
    def readout(self) -> Readout | None:
        """None where there is no verifier."""
        ...

    def build(self) -> Any: ...
