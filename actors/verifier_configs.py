"""Schemas of the verifiers that are no reward model: an engine that is asked, or the policy's own figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from actors.checkpoint_files import brief
from actors.loading import check_tokenizer_path, make_absolute
from actors.self_certainty import SelfCertainty
from orchestrator.backend import Backend, LocalVerifier, ReplicaVerifier
from orchestrator.errors import ConfigError
from orchestrator.protocols import EngineConfig, HasWeights, Readout, Task, Verifier


@dataclass(frozen=True)
class LikelihoodVerifier(ReplicaVerifier):
    """A language model's own probability of each step (``conf/verifier/likelihood.yaml``).

    ``engine`` is any engine's configuration; ``tokenizer`` names its tokenizer where that is not the one of
    ``engine.model``.
    """

    engine: EngineConfig
    instruction: str = ""
    normalise: Literal["token", "none"] = "token"
    readout: Readout = "per_step"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        _check_engine(self.engine)
        if self.tokenizer is not None:
            check_tokenizer_path("verifier.tokenizer", self.tokenizer)
            make_absolute(self, "tokenizer")

    def digest(self) -> str | None:
        return self.engine.digest() if isinstance(self.engine, HasWeights) else None

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors.likelihood_verifier import LikelihoodVerifier as Built

        tokenizer = _load_tokenizer(self.engine, self.tokenizer)
        return Built(
            _built(self.engine),
            tokenizer,
            instruction=self.instruction,
            normalise=self.normalise,
            readout=self.readout,
        )


@dataclass(frozen=True)
class GenerativeVerifier(ReplicaVerifier):
    """A language model that is asked whether a step is right (``conf/verifier/generative.yaml``).

    The knobs are those of ``actors.generative_verifier.Judging``.
    """

    engine: EngineConfig
    template: str
    step_template: str = "{step}"
    good: str = "Yes"
    bad: str = "No"
    critique_tokens: int = 0
    num_critiques: int = 1
    temperature: float = 0.0
    verdict: str = "\\boxed{"
    readout: Readout = "per_step"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        _check_engine(self.engine)
        if self.tokenizer is not None:
            check_tokenizer_path("verifier.tokenizer", self.tokenizer)
            make_absolute(self, "tokenizer")
        for key, needed in (("template", ("{steps}", "{step}")), ("step_template", ("{step}",))):
            value = getattr(self, key)
            if not any(n in value for n in needed):
                raise ConfigError(f"verifier.{key}", repr(value), f"must hold {' or '.join(needed)}")
        if self.critique_tokens < 0:
            raise ConfigError(
                "verifier.critique_tokens", self.critique_tokens, "must be 0 (no critique) or more"
            )
        if self.num_critiques < 1:
            raise ConfigError("verifier.num_critiques", self.num_critiques, "must be 1 or more")
        if self.num_critiques > 1 and not (self.critique_tokens and self.temperature > 0):
            allowed = "needs critique_tokens and a temperature above 0: they would all be the same"
            raise ConfigError("verifier.num_critiques", self.num_critiques, allowed)
        if not self.temperature >= 0:
            raise ConfigError("verifier.temperature", self.temperature, "must be 0 (greedy) or more")
        if not self.verdict:
            raise ConfigError("verifier.verdict", repr(self.verdict), "must be the text before a verdict")

    def digest(self) -> str | None:
        return self.engine.digest() if isinstance(self.engine, HasWeights) else None

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors.generative_verifier import GenerativeVerifier as Built
        from actors.generative_verifier import Judging

        judging = Judging(**{name: getattr(self, name) for name in Judging.__slots__})
        tokenizer = _load_tokenizer(self.engine, self.tokenizer)
        return Built(_built(self.engine), tokenizer, judging, readout=self.readout)


@dataclass(frozen=True)
class SelfCertaintyVerifier(LocalVerifier):
    """The policy's own certainty of a step (``conf/verifier/self_certainty.yaml``); it has no model."""

    readout: Readout = "per_step"

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier:
        return SelfCertainty(self.readout)


def _check_engine(engine: object) -> None:
    if isinstance(engine, str | Mapping) or engine is None:
        raise ConfigError("verifier.engine", engine, "must be an engine's configuration, with its _target_")
    if (prompts := getattr(engine, "prompts", "tokens")) != "tokens":
        allowed = "must be tokens here: a server that takes texts alone tells no likelihoods of them"
        raise ConfigError("verifier.engine.prompts", prompts, allowed)


def _built(engine: EngineConfig) -> Any:
    """The engine. Raises ConfigError with the key where it stands in a verifier."""
    try:
        return engine.build()
    except ConfigError as error:
        raise ConfigError(f"verifier.{error.key}", error.value, error.allowed) from error


def _load_tokenizer(engine: EngineConfig, name: str | None) -> Any:
    """The tokenizer ``name``, or that of the engine's model. Raises ConfigError where there is none."""
    import transformers

    from actors.loading import resolve_model

    model = name or getattr(engine, "tokenizer", None) or getattr(engine, "model", None)
    if not isinstance(model, str):
        raise ConfigError(
            "verifier.tokenizer", name, "must name a tokenizer: the engine has no model of its own"
        )
    revision = None if name else getattr(engine, "revision", None)
    try:
        return transformers.AutoTokenizer.from_pretrained(resolve_model(model), revision=revision)
    except Exception as error:  # whatever a stranger's files make the libraries raise
        raise ConfigError("verifier.tokenizer", model, f"cannot be loaded: {brief(error)}") from error
