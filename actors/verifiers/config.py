"""The schemas of the verifiers that ask an engine: ``verifier=likelihood`` and ``verifier=generative``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from actors.checkpoints.models import check_tokenizer_path, make_absolute, resolve_model
from actors.messages import brief
from orchestrator.backend import ReplicaVerifier
from orchestrator.errors import ConfigError
from orchestrator.protocols import EngineConfig, HasWeights, InStages, MadeForTask, MayLackPrefixes, Readout
from orchestrator.schema import Rule, Words, checked


def _holds(*needed: str) -> Rule:
    """A rule: the text must hold at least one of these."""
    return Rule(lambda text: any(n in text for n in needed), f"must hold {' or '.join(needed)}", quoted=True)


class AskingVerifierConfig(ReplicaVerifier):
    """Base of a configuration of a verifier that asks ``engine``, with the ``tokenizer`` of its model."""

    engine: EngineConfig
    tokenizer: str | None

    @property
    def knows_task(self) -> str | None:
        """The one task of the engine's model; None: any task."""
        return self.engine.knows_task if isinstance(self.engine, MadeForTask) else None

    @property
    def num_stages(self) -> int:
        """Those of the engine."""
        return self.engine.num_stages if isinstance(self.engine, InStages) else 1

    def digest(self) -> str | None:
        """Return the digest of the engine's model; None where it has no files."""
        return self.engine.digest() if isinstance(self.engine, HasWeights) else None

    def _check(self) -> None:
        _check_engine(self.engine)
        if self.tokenizer is not None:
            check_tokenizer_path("verifier.tokenizer", self.tokenizer)
            make_absolute(self, "tokenizer")


@dataclass(frozen=True)
@checked("verifier")
class LikelihoodVerifierConfig(AskingVerifierConfig):
    """A language model's probability of each step (``conf/verifier/likelihood.yaml``).

    ``engine`` is the configuration of any engine; ``tokenizer`` names its tokenizer where that is not the one
    of ``engine.model``.
    """

    engine: EngineConfig
    instruction: str = ""
    normalise: Literal["token", "none"] = "token"
    readout: Readout = "per_step"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        self._check()

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors.verifiers.likelihood import LikelihoodVerifier

        tokenizer = _load_tokenizer(self.engine, self.tokenizer)
        return LikelihoodVerifier(self, _built(self.engine), tokenizer)


@dataclass(frozen=True)
@checked("verifier")
class GenerativeVerifierConfig(AskingVerifierConfig):
    """A language model that is asked whether a step is right (``conf/verifier/generative.yaml``).

    ``template`` renders ``{question}``, ``{steps}`` (all up to the step in question, each rendered by
    ``step_template``, which has ``{step}`` and ``{number}``), ``{step}`` and ``{number}``. A common beginning
    is computed once for all steps of a problem. The engine's template is put around the result.
    """

    engine: EngineConfig
    template: Annotated[str, _holds("{steps}", "{step}")]
    step_template: Annotated[str, _holds("{step}")] = "{step}"
    good: str = "Yes"
    bad: str = "No"
    critique_tokens: Annotated[int, Ge(0), Words("must be 0 (no critique) or more")] = 0
    num_critiques: Annotated[int, Ge(1), Words("must be 1 or more")] = 1
    temperature: Annotated[float, Ge(0), Words("must be 0 (greedy) or more")] = 0.0
    verdict: Annotated[str, MinLen(1), Words("must be the text before a verdict", quoted=True)] = "\\boxed{"
    readout: Readout = "per_step"
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        self._check()
        if self.num_critiques > 1 and not (self.critique_tokens and self.temperature > 0):
            allowed = "needs critique_tokens and a temperature above 0: they would all be the same"
            raise ConfigError("verifier.num_critiques", self.num_critiques, allowed)

    def build(self) -> Any:
        """Load the model. Raises ConfigError."""
        from actors.verifiers.generative import GenerativeVerifier

        tokenizer = _load_tokenizer(self.engine, self.tokenizer)
        return GenerativeVerifier(self, _built(self.engine), tokenizer)


def _check_engine(engine: object) -> None:
    if isinstance(engine, str | Mapping) or engine is None:
        raise ConfigError("verifier.engine", engine, "must be an engine's configuration, with its _target_")
    if isinstance(engine, MayLackPrefixes) and (because := engine.whole_because) is not None:
        allowed = "gives no likelihoods, which this verifier reads"
        raise ConfigError(f"verifier.{because.key}", because.value, allowed)
    if (prompts := getattr(engine, "prompts", "tokens")) != "tokens":
        allowed = "must be tokens here: a server that takes only texts gives no likelihoods of them"
        raise ConfigError("verifier.engine.prompts", prompts, allowed)


def _built(engine: EngineConfig) -> Any:
    """The engine. Raises ConfigError with the key below ``verifier``."""
    try:
        return engine.build()
    except ConfigError as error:
        raise ConfigError(f"verifier.{error.key}", error.value, error.allowed) from error


def _load_tokenizer(engine: EngineConfig, name: str | None) -> Any:
    """The tokenizer ``name``, or that of the engine's model. Raises ConfigError where it cannot be loaded."""
    import transformers

    model = name or getattr(engine, "tokenizer", None) or getattr(engine, "model", None)
    if not isinstance(model, str):
        raise ConfigError("verifier.tokenizer", name, "must name a tokenizer: the engine has no model")
    revision = None if name else getattr(engine, "revision", None)
    try:
        return transformers.AutoTokenizer.from_pretrained(resolve_model(model), revision=revision)
    except Exception as error:  # with bad files the libraries may raise anything
        raise ConfigError("verifier.tokenizer", model, f"cannot be loaded: {brief(error)}") from error
