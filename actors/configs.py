"""The schemas of the groups ``engine`` and ``verifier``: light values, checked before a model loads."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from actors.diffusion_layouts import check_layout
from actors.loading import check_model_path, make_absolute
from actors.prompting import PromptStyle
from actors.reward_formats import build_format
from actors.vllm_arguments import absolute_paths, check_arguments
from actors.weights_digest import digest_of
from orchestrator.backend import ReplicaVerifier
from orchestrator.errors import ConfigError
from orchestrator.types import Denoising, Params, Sampling

Dtype = Literal["float32", "bfloat16", "float16", "auto"]


@dataclass(frozen=True)
class TransformersEngine:
    """A causal language model of the transformers library (``conf/engine/transformers.yaml``)."""

    model: str
    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)
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
        make_absolute(self, "model")
        PromptStyle(self.template, self.chat, self.system, self.chat_options)
        _check_device("engine", self.device)
        _check_at_least(1, "engine", self, ("max_batch_size", "max_context"))
        _check_at_least(0, "engine", self, ("cache_bytes",))

    @property
    def takes(self) -> type[Params]:
        return Sampling

    def digest(self) -> str | None:
        return digest_of(self.model, self.revision)

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors import transformers_engine

        return transformers_engine.TransformersEngine(**asdict(self))


@dataclass(frozen=True)
class DiffusionEngine:
    """A masked-diffusion language model (``conf/engine/diffusion.yaml``)."""

    model: str
    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)
    dtype: Dtype = "float32"
    device: str = "auto"
    max_batch_size: int = 64
    max_context: int | None = None
    cache: Literal["none", "prefix", "dual"] = "none"
    block_delimiters: Sequence[str] = ("\n",)
    compile: bool = False
    batch_invariant: bool | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        check_model_path("engine.model", self.model)
        check_layout("engine.model", self.model)
        make_absolute(self, "model")
        PromptStyle(self.template, self.chat, self.system, self.chat_options)
        _check_device("engine", self.device)
        _check_at_least(1, "engine", self, ("max_batch_size", "max_context"))
        if self.device == "mps":
            raise ConfigError("engine.device", "mps", "draws need float64: must be cpu, cuda or xpu")
        if not all(self.block_delimiters):
            raise ConfigError("engine.block_delimiters", self.block_delimiters, "must be texts, none empty")

    @property
    def takes(self) -> type[Params]:
        return Denoising

    def digest(self) -> str | None:
        return digest_of(self.model, self.revision)

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors import diffusion_engine

        return diffusion_engine.DiffusionEngine(**asdict(self))


@dataclass(frozen=True)
class VllmEngine:
    """A causal language model served by vLLM (``conf/engine/vllm.yaml``).

    ``args`` are vLLM's own engine arguments, by its own names.
    """

    model: str
    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)
    thinking_budget: int | None = None
    thinking_start: str = "<think>"
    thinking_end: str = "</think>"
    logprobs: bool = True
    sampler: Literal["step", "stream"] = "step"
    lookahead: int = 64
    dtype: Dtype = "auto"
    max_context: int | None = None
    batch_invariant: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_path("engine.model", self.model)
        make_absolute(self, "model")
        _check_at_least(0, "engine", self, ("lookahead",))
        if self.sampler == "stream" and self.thinking_budget is not None:
            allowed = "step where engine.thinking_budget is set: vLLM changes what would be sampled"
            raise ConfigError("engine.sampler", "stream", allowed)
        PromptStyle(self.template, self.chat, self.system, self.chat_options)
        _check_at_least(1, "engine", self, ("thinking_budget", "max_context"))
        for name in ("thinking_start", "thinking_end"):
            if not getattr(self, name):
                raise ConfigError(f"engine.{name}", repr(""), "must be a text")
        check_arguments("engine", self.args)
        object.__setattr__(self, "args", absolute_paths(self.args))

    @property
    def takes(self) -> type[Params]:
        return Sampling

    def digest(self) -> str | None:
        return digest_of(self.model, self.revision)

    def build(self) -> Any:
        """Start vLLM. Raises ConfigError."""
        from actors import vllm_engine

        return vllm_engine.VllmEngine(**asdict(self))


@dataclass(frozen=True)
class TransformersVerifier(ReplicaVerifier):
    """A process reward model of the transformers library (``conf/verifier/transformers.yaml``).

    ``format`` is a name of ``actors.reward_formats.FORMATS``, and ``options`` are the fields of its class.
    """

    model: str
    format: str = "token_classification"
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
        make_absolute(self, "model")
        build_format(self.format, self.options, self.readout)
        _check_device("verifier", self.device)
        _check_at_least(1, "verifier", self, ("max_context",))
        _check_at_least(0, "verifier", self, ("cache_bytes",))

    def digest(self) -> str | None:
        return digest_of(self.model, self.revision)

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors import transformers_verifier

        return transformers_verifier.TransformersVerifier(**asdict(self))


@dataclass(frozen=True)
class VllmVerifier(ReplicaVerifier):
    """A reward model served by vLLM (``conf/verifier/vllm.yaml``).

    ``format`` is a name of ``actors.reward_formats.FORMATS``, and ``options`` are the fields of its class;
    ``args`` are vLLM's own engine arguments, by its own names.
    """

    model: str
    format: str = "token_classification"
    readout: Literal["per_step", "whole"] = "per_step"
    dtype: Dtype = "auto"
    max_context: int | None = None
    batch_invariant: bool = False
    revision: str | None = None
    trust_remote_code: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_model_path("verifier.model", self.model)
        make_absolute(self, "model")
        build_format(self.format, self.options, self.readout)
        if self.format == "value_head":
            allowed = "vLLM loads no such head: take verifier=transformers with verifier/format=skywork"
            raise ConfigError("verifier.format", self.format, allowed)
        _check_at_least(1, "verifier", self, ("max_context",))
        check_arguments("verifier", self.args)
        object.__setattr__(self, "args", absolute_paths(self.args))

    def digest(self) -> str | None:
        return digest_of(self.model, self.revision)

    def build(self) -> Any:
        """Start vLLM. Raises ConfigError."""
        from actors import vllm_verifier

        return vllm_verifier.VllmVerifier(**asdict(self))


@dataclass(frozen=True)
class NoVerifier(ReplicaVerifier):
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
