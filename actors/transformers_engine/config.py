"""The schemas of ``engine=transformers`` and ``verifier=transformers``, checked before a model loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.checkpoints.adapters import HEADS, check_adapter
from actors.checkpoints.models import GGUF, check_model_path, make_absolute
from actors.checkpoints.stored_model import StoredModel
from actors.settings import CacheBytes, Count, Device, Dtype, MaxContext
from actors.text.prompting import PromptStyle
from actors.verifiers.formats import build_format
from orchestrator.backend import ReplicaVerifier
from orchestrator.protocols import Readout
from orchestrator.schema import checked
from orchestrator.types import Params, Sampling


@dataclass(frozen=True)
@checked("engine")
class TransformersEngineConfig(StoredModel):
    """A causal language model of the transformers library (``conf/engine/transformers.yaml``)."""

    model: str
    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)
    dtype: Dtype = "float32"
    device: Device = "auto"
    max_batch_size: Count = 128
    max_context: MaxContext = None
    cache_bytes: CacheBytes = 256 * 2**20
    batch_invariant: bool | None = None
    revision: str | None = None
    lora: str | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        check_model_path("engine.model", self.model, GGUF)
        check_adapter("engine", self.model, self.lora, merged=True)
        make_absolute(self, "model", "lora")
        PromptStyle.of(self)

    @property
    def takes(self) -> type[Params]:
        return Sampling

    @property
    def takes_history(self) -> bool:
        return self.chat

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors.transformers_engine.engine import TransformersEngine

        return TransformersEngine(self)


@dataclass(frozen=True)
@checked("verifier")
class TransformersVerifierConfig(StoredModel, ReplicaVerifier):
    """A process reward model of the transformers library (``conf/verifier/transformers.yaml``).

    ``format`` is a name of ``actors.verifiers.formats.FORMATS``, and ``options`` are the fields of its class.
    """

    model: str
    format: str = "token_classification"
    readout: Readout = "per_step"
    dtype: Dtype = "float32"
    device: Device = "auto"
    max_context: MaxContext = None
    cache_bytes: CacheBytes = 256 * 2**20
    batch_invariant: bool | None = None
    revision: str | None = None
    lora: str | None = None
    trust_remote_code: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_path("verifier.model", self.model)
        has_head = build_format(self.format, self.options, self.readout).head == "classifier"
        check_adapter("verifier", self.model, self.lora, merged=True, heads=HEADS if has_head else ())
        make_absolute(self, "model", "lora")

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors.transformers_engine.verifier import TransformersVerifier

        return TransformersVerifier(self)
