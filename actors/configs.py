"""The schemas of the groups ``engine`` and ``verifier``: light values, checked before a model loads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from actors.loading import check_model_path, check_template
from orchestrator.errors import ConfigError

Dtype = Literal["float32", "bfloat16", "float16", "auto"]


class EngineConfig(Protocol):
    """A configuration that a replica turns into an engine; picklable."""

    def build(self) -> Any: ...


class VerifierConfig(Protocol):
    """A configuration that a replica turns into a verifier; picklable."""

    @property
    def readout(self) -> str | None:
        """``per_step`` or ``whole``; None where there is no verifier."""
        ...

    def build(self) -> Any: ...


@dataclass(frozen=True)
class TransformersEngine:
    """A causal language model of the transformers library (``conf/engine/transformers.yaml``)."""

    model: str
    template: str | None = None
    chat: bool = False
    dtype: Dtype = "float32"
    device: str = "auto"
    max_batch_size: int = 128
    max_context: int | None = None
    cache_bytes: int = 256 * 2**20
    batch_invariant: bool | None = None
    revision: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        check_model_path("engine.model", self.model)
        if self.template is not None:
            check_template(self.template)
        _check_device("engine", self.device)
        _check_at_least(1, "engine", self, ("max_batch_size", "max_context"))
        _check_at_least(0, "engine", self, ("cache_bytes",))

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors import transformers_engine

        return transformers_engine.TransformersEngine(**asdict(self))


@dataclass(frozen=True)
class TransformersVerifier:
    """A process reward model of the transformers library (``conf/verifier/transformers.yaml``).

    ``options`` are the fields of the format: for ``token_classification`` its ``template``, ``step_tag``
    and ``positive_label``.
    """

    model: str
    format: Literal["token_classification"] = "token_classification"
    readout: Literal["per_step", "whole"] = "per_step"
    dtype: Dtype = "float32"
    device: str = "auto"
    max_context: int | None = None
    cache_bytes: int = 256 * 2**20
    batch_invariant: bool | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_path("verifier.model", self.model)
        _check_device("verifier", self.device)
        _check_at_least(1, "verifier", self, ("max_context",))
        _check_at_least(0, "verifier", self, ("cache_bytes",))

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors import transformers_verifier

        settings = asdict(self)
        options = settings.pop("options")
        return transformers_verifier.TransformersVerifier(**settings, **options)


@dataclass(frozen=True)
class NoVerifier:
    """No verifier: strategies that vote or take one sample need none."""

    @property
    def readout(self) -> None:
        return None

    def build(self) -> None:
        return None


def _check_at_least(least: int, group: str, config: object, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < least:
            raise ConfigError(f"{group}.{name}", value, f"must be a whole number of {least} or more")


def _check_device(group: str, device: str) -> None:
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", device):
        raise ConfigError(f"{group}.device", device, "must be auto, cpu, cuda, cuda:0, xpu or mps")
