"""Inference-time search: ``solve`` a question with a strategy, an engine and a verifier.

What is listed here is public (docs/library.md). Each name is imported when it is first used: importing this
package loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.allocation.rounds import Rounds, Uniform
    from orchestrator.api import solve, solve_many, solve_sync
    from orchestrator.errors import ConfigError, EngineError, MurmurationError, ProblemError, VerifierError
    from orchestrator.observe.mlflow_tracker import MlflowTracker
    from orchestrator.observe.tracking import JsonlTracker, NoTracker
    from orchestrator.observe.trackio_tracker import TrackioTracker
    from orchestrator.observe.wandb_tracker import WandbTracker
    from orchestrator.outcome import Candidate, ProblemResult
    from orchestrator.prompts.question import PrefixQuestion
    from orchestrator.prompts.template import Template
    from orchestrator.protocols import (
        Completion,
        Engine,
        EngineBase,
        Failure,
        GenerateRequest,
        Loglik,
        LoglikRequest,
        ModelInfo,
        Reasons,
        ScoreReply,
        ScoreRequest,
        Task,
        Verifier,
        VerifierBase,
    )
    from orchestrator.search.account import Limits
    from orchestrator.search.prices import Price
    from orchestrator.search.session import Session
    from orchestrator.search.strategy import Strategy
    from orchestrator.starting import Models, start
    from orchestrator.steps.rule import StepRule
    from orchestrator.stored.engine import StoredEngineConfig
    from orchestrator.stored.task import StoredTask
    from orchestrator.stored.verifier import StoredVerifierConfig
    from orchestrator.tasks.chain import ChainTask
    from orchestrator.tasks.choices import DrawnChoices, ListedChoices
    from orchestrator.tasks.countdown import CountdownTask
    from orchestrator.tasks.dataset import DatasetTask
    from orchestrator.tasks.long_chain import LongChainTask
    from orchestrator.tasks.twoway import TwoWayTask
    from orchestrator.text.engine import LastStep, TextEngine, TextParams
    from orchestrator.text.task import TextTask
    from orchestrator.text.verifier import TextVerifier
    from orchestrator.types import (
        Carried,
        Denoising,
        Finish,
        NodeRecord,
        Overhead,
        Problem,
        Reward,
        Sampling,
        Solution,
        Step,
        StepRecord,
        Trajectory,
        Usage,
    )
    from orchestrator.verifiers.constraints import ConstraintsVerifierConfig
    from orchestrator.verifiers.countdown_constraints import CountdownConstraintsConfig
    from orchestrator.verifiers.none import NoVerifier
    from orchestrator.verifiers.oracle import OracleConfig
    from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig
    from orchestrator.verifiers.self_evaluation import SelfEvaluationVerifierConfig

_PLACES = {
    "Candidate": "orchestrator.outcome",
    "Carried": "orchestrator.types",
    "ChainTask": "orchestrator.tasks.chain",
    "Completion": "orchestrator.protocols",
    "ConfigError": "orchestrator.errors",
    "ConstraintsVerifierConfig": "orchestrator.verifiers.constraints",
    "CountdownConstraintsConfig": "orchestrator.verifiers.countdown_constraints",
    "CountdownTask": "orchestrator.tasks.countdown",
    "DatasetTask": "orchestrator.tasks.dataset",
    "Denoising": "orchestrator.types",
    "DrawnChoices": "orchestrator.tasks.choices",
    "Engine": "orchestrator.protocols",
    "EngineBase": "orchestrator.protocols",
    "EngineError": "orchestrator.errors",
    "Failure": "orchestrator.protocols",
    "Finish": "orchestrator.types",
    "GenerateRequest": "orchestrator.protocols",
    "JsonlTracker": "orchestrator.observe.tracking",
    "LastStep": "orchestrator.text.engine",
    "Limits": "orchestrator.search.account",
    "ListedChoices": "orchestrator.tasks.choices",
    "Loglik": "orchestrator.protocols",
    "LoglikRequest": "orchestrator.protocols",
    "LongChainTask": "orchestrator.tasks.long_chain",
    "MlflowTracker": "orchestrator.observe.mlflow_tracker",
    "ModelInfo": "orchestrator.protocols",
    "Models": "orchestrator.starting",
    "MurmurationError": "orchestrator.errors",
    "NoTracker": "orchestrator.observe.tracking",
    "NoVerifier": "orchestrator.verifiers.none",
    "NodeRecord": "orchestrator.types",
    "OracleConfig": "orchestrator.verifiers.oracle",
    "Overhead": "orchestrator.types",
    "PrefixQuestion": "orchestrator.prompts.question",
    "Price": "orchestrator.search.prices",
    "Problem": "orchestrator.types",
    "ProblemError": "orchestrator.errors",
    "ProblemResult": "orchestrator.outcome",
    "Reasons": "orchestrator.protocols",
    "Reward": "orchestrator.types",
    "Rounds": "orchestrator.allocation.rounds",
    "Sampling": "orchestrator.types",
    "ScoreReply": "orchestrator.protocols",
    "ScoreRequest": "orchestrator.protocols",
    "SelfCertaintyVerifierConfig": "orchestrator.verifiers.self_certainty",
    "SelfEvaluationVerifierConfig": "orchestrator.verifiers.self_evaluation",
    "Session": "orchestrator.search.session",
    "Solution": "orchestrator.types",
    "Step": "orchestrator.types",
    "StepRecord": "orchestrator.types",
    "StepRule": "orchestrator.steps.rule",
    "StoredEngineConfig": "orchestrator.stored.engine",
    "StoredTask": "orchestrator.stored.task",
    "StoredVerifierConfig": "orchestrator.stored.verifier",
    "Strategy": "orchestrator.search.strategy",
    "Task": "orchestrator.protocols",
    "Template": "orchestrator.prompts.template",
    "TextEngine": "orchestrator.text.engine",
    "TextParams": "orchestrator.text.engine",
    "TextTask": "orchestrator.text.task",
    "TextVerifier": "orchestrator.text.verifier",
    "TrackioTracker": "orchestrator.observe.trackio_tracker",
    "Trajectory": "orchestrator.types",
    "TwoWayTask": "orchestrator.tasks.twoway",
    "Uniform": "orchestrator.allocation.rounds",
    "Usage": "orchestrator.types",
    "Verifier": "orchestrator.protocols",
    "VerifierBase": "orchestrator.protocols",
    "VerifierError": "orchestrator.errors",
    "WandbTracker": "orchestrator.observe.wandb_tracker",
    "solve": "orchestrator.api",
    "solve_many": "orchestrator.api",
    "solve_sync": "orchestrator.api",
    "start": "orchestrator.starting",
}

__all__ = [
    "Candidate",
    "Carried",
    "ChainTask",
    "Completion",
    "ConfigError",
    "ConstraintsVerifierConfig",
    "CountdownConstraintsConfig",
    "CountdownTask",
    "DatasetTask",
    "Denoising",
    "DrawnChoices",
    "Engine",
    "EngineBase",
    "EngineError",
    "Failure",
    "Finish",
    "GenerateRequest",
    "JsonlTracker",
    "LastStep",
    "Limits",
    "ListedChoices",
    "Loglik",
    "LoglikRequest",
    "LongChainTask",
    "MlflowTracker",
    "ModelInfo",
    "Models",
    "MurmurationError",
    "NoTracker",
    "NoVerifier",
    "NodeRecord",
    "OracleConfig",
    "Overhead",
    "PrefixQuestion",
    "Price",
    "Problem",
    "ProblemError",
    "ProblemResult",
    "Reasons",
    "Reward",
    "Rounds",
    "Sampling",
    "ScoreReply",
    "ScoreRequest",
    "SelfCertaintyVerifierConfig",
    "SelfEvaluationVerifierConfig",
    "Session",
    "Solution",
    "Step",
    "StepRecord",
    "StepRule",
    "StoredEngineConfig",
    "StoredTask",
    "StoredVerifierConfig",
    "Strategy",
    "Task",
    "Template",
    "TextEngine",
    "TextParams",
    "TextTask",
    "TextVerifier",
    "TrackioTracker",
    "Trajectory",
    "TwoWayTask",
    "Uniform",
    "Usage",
    "Verifier",
    "VerifierBase",
    "VerifierError",
    "WandbTracker",
    "solve",
    "solve_many",
    "solve_sync",
    "start",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
