"""Inference-time search: ``solve`` a question with a strategy, an engine and a verifier.

What is listed here is public (docs/library.md). Each name is imported when it is first used: importing this
package loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import solve, solve_many, solve_sync
    from orchestrator.errors import ConfigError, EngineError, MurmurationError, ProblemError, VerifierError
    from orchestrator.observe.mlflow_tracker import MlflowTracker
    from orchestrator.observe.tracking import JsonlTracker, NoTracker
    from orchestrator.observe.trackio_tracker import TrackioTracker
    from orchestrator.observe.wandb_tracker import WandbTracker
    from orchestrator.outcome import Candidate, ProblemResult
    from orchestrator.protocols import (
        Completion,
        Engine,
        EngineBase,
        Failure,
        GenerateRequest,
        Loglik,
        LoglikRequest,
        ModelInfo,
        ScoreReply,
        ScoreRequest,
        Task,
        Verifier,
        VerifierBase,
    )
    from orchestrator.search.account import Limits
    from orchestrator.search.session import Session
    from orchestrator.search.strategy import Strategy
    from orchestrator.starting import Models, start
    from orchestrator.stored.engine import StoredEngineConfig
    from orchestrator.stored.task import StoredTask
    from orchestrator.stored.verifier import StoredVerifierConfig
    from orchestrator.tasks.chain import ChainTask
    from orchestrator.tasks.choices import DrawnChoices, ListedChoices
    from orchestrator.tasks.countdown import CountdownTask
    from orchestrator.tasks.dataset import DatasetTask
    from orchestrator.tasks.twoway import TwoWayTask
    from orchestrator.text.engine import LastStep, TextEngine, TextParams
    from orchestrator.text.task import TextTask
    from orchestrator.text.verifier import TextVerifier
    from orchestrator.types import (
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
    from orchestrator.verifiers.none import NoVerifier
    from orchestrator.verifiers.oracle import OracleConfig
    from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig

_MODULES = {
    "orchestrator.observe.trackio_tracker": ("TrackioTracker",),
    "orchestrator.observe.mlflow_tracker": ("MlflowTracker",),
    "orchestrator.api": (
        "solve",
        "solve_many",
        "solve_sync",
    ),
    "orchestrator.errors": (
        "ConfigError",
        "EngineError",
        "MurmurationError",
        "ProblemError",
        "VerifierError",
    ),
    "orchestrator.observe.tracking": (
        "JsonlTracker",
        "NoTracker",
    ),
    "orchestrator.observe.wandb_tracker": ("WandbTracker",),
    "orchestrator.outcome": (
        "Candidate",
        "ProblemResult",
    ),
    "orchestrator.protocols": (
        "Completion",
        "Engine",
        "EngineBase",
        "Failure",
        "GenerateRequest",
        "Loglik",
        "LoglikRequest",
        "ModelInfo",
        "ScoreReply",
        "ScoreRequest",
        "Task",
        "Verifier",
        "VerifierBase",
    ),
    "orchestrator.search.account": ("Limits",),
    "orchestrator.search.session": ("Session",),
    "orchestrator.search.strategy": ("Strategy",),
    "orchestrator.starting": (
        "Models",
        "start",
    ),
    "orchestrator.stored.engine": ("StoredEngineConfig",),
    "orchestrator.stored.task": ("StoredTask",),
    "orchestrator.stored.verifier": ("StoredVerifierConfig",),
    "orchestrator.tasks.chain": ("ChainTask",),
    "orchestrator.tasks.choices": (
        "DrawnChoices",
        "ListedChoices",
    ),
    "orchestrator.tasks.countdown": ("CountdownTask",),
    "orchestrator.tasks.dataset": ("DatasetTask",),
    "orchestrator.tasks.twoway": ("TwoWayTask",),
    "orchestrator.text.engine": (
        "LastStep",
        "TextEngine",
        "TextParams",
    ),
    "orchestrator.text.task": ("TextTask",),
    "orchestrator.text.verifier": ("TextVerifier",),
    "orchestrator.types": (
        "Denoising",
        "Finish",
        "NodeRecord",
        "Overhead",
        "Problem",
        "Reward",
        "Sampling",
        "Solution",
        "Step",
        "StepRecord",
        "Trajectory",
        "Usage",
    ),
    "orchestrator.verifiers.none": ("NoVerifier",),
    "orchestrator.verifiers.oracle": ("OracleConfig",),
    "orchestrator.verifiers.self_certainty": ("SelfCertaintyVerifierConfig",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Candidate",
    "ChainTask",
    "Completion",
    "ConfigError",
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
    "MlflowTracker",
    "ModelInfo",
    "Models",
    "MurmurationError",
    "NoTracker",
    "NoVerifier",
    "NodeRecord",
    "OracleConfig",
    "Overhead",
    "Problem",
    "ProblemError",
    "ProblemResult",
    "Reward",
    "Sampling",
    "ScoreReply",
    "ScoreRequest",
    "SelfCertaintyVerifierConfig",
    "Session",
    "Solution",
    "Step",
    "StepRecord",
    "StoredEngineConfig",
    "StoredTask",
    "StoredVerifierConfig",
    "Strategy",
    "Task",
    "TextEngine",
    "TextParams",
    "TextTask",
    "TextVerifier",
    "TrackioTracker",
    "Trajectory",
    "TwoWayTask",
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
