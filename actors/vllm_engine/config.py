"""The schemas of ``engine=vllm`` and ``verifier=vllm``: light, and checked before vLLM starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from actors.checkpoints.adapters import check_adapter
from actors.checkpoints.models import check_model_path, make_absolute
from actors.checkpoints.stored_model import StoredModel
from actors.settings import Dtype, MaxContext
from actors.text.prompting import PromptStyle
from actors.verifiers.formats import build_format
from actors.vllm_engine.arguments import absolute_paths, check_arguments, num_stages
from orchestrator.backend import ReplicaVerifier
from orchestrator.errors import ConfigError
from orchestrator.protocols import Readout
from orchestrator.schema import Words, checked
from orchestrator.types import Params, Sampling

Marker = Annotated[str, MinLen(1), Words("must be a text", quoted=True)]


@dataclass(frozen=True)
@checked("engine")
class VllmEngineConfig(StoredModel):
    """A causal language model served by vLLM (``conf/engine/vllm.yaml``).

    A trajectory that thinks for more than ``thinking_budget`` tokens after ``thinking_start`` is continued
    with ``thinking_end``. Without ``logprobs`` steps have none. With the ``sampler`` stream a text is a
    function of its seed and what came before, however often it is continued, and runs up to ``lookahead``
    tokens ahead of the search. ``args`` are vLLM's engine arguments, by vLLM's names.
    """

    model: str
    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)
    thinking_budget: Annotated[int | None, Ge(1)] = None
    thinking_start: Marker = "<think>"
    thinking_end: Marker = "</think>"
    logprobs: bool = True
    sampler: Literal["step", "stream"] = "step"
    lookahead: Annotated[int, Ge(0)] = 64
    dtype: Dtype = "auto"
    max_context: MaxContext = None
    batch_invariant: bool = False
    revision: str | None = None
    lora: str | None = None
    trust_remote_code: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_path("engine.model", self.model)
        check_adapter("engine", self.model, self.lora, merged=False)
        make_absolute(self, "model", "lora")
        if self.sampler == "stream" and self.thinking_budget is not None:
            allowed = "step where engine.thinking_budget is set: vLLM changes what would be sampled"
            raise ConfigError("engine.sampler", "stream", allowed)
        PromptStyle.of(self)
        check_arguments("engine", self.args)
        num_stages("engine", self.args)
        object.__setattr__(self, "args", absolute_paths(self.args))

    @property
    def takes(self) -> type[Params]:
        return Sampling

    @property
    def takes_history(self) -> bool:
        return self.chat

    @property
    def num_stages(self) -> int:
        return num_stages("engine", self.args)

    def build(self) -> Any:
        """Start vLLM. Raises ConfigError."""
        from actors.vllm_engine.engine import VllmEngine

        return VllmEngine(self)


@dataclass(frozen=True)
@checked("verifier")
class VllmVerifierConfig(StoredModel, ReplicaVerifier):
    """A reward model served by vLLM (``conf/verifier/vllm.yaml``).

    ``format`` is a name of ``actors.verifiers.formats.FORMATS``, and ``options`` are the fields of its class;
    ``args`` are vLLM's engine arguments, by vLLM's names.
    """

    model: str
    format: str = "token_classification"
    readout: Readout = "per_step"
    dtype: Dtype = "auto"
    max_context: MaxContext = None
    batch_invariant: bool = False
    revision: str | None = None
    lora: str | None = None
    trust_remote_code: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_path("verifier.model", self.model)
        check_adapter("verifier", self.model, self.lora, merged=False)
        make_absolute(self, "model", "lora")
        build_format(self.format, self.options, self.readout)
        if self.format == "value_head":
            allowed = "vLLM loads no such head: take verifier=transformers with verifier/format=skywork"
            raise ConfigError("verifier.format", self.format, allowed)
        check_arguments("verifier", self.args)
        num_stages("verifier", self.args)
        object.__setattr__(self, "args", absolute_paths(self.args))

    @property
    def num_stages(self) -> int:
        return num_stages("verifier", self.args)

    def build(self) -> Any:
        """Start vLLM. Raises ConfigError."""
        from actors.vllm_engine.verifier import VllmVerifier

        return VllmVerifier(self)
