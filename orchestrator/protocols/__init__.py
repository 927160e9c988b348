"""The interfaces of engines, verifiers and tasks, and the requests and replies that pass through them."""

from __future__ import annotations

from orchestrator.protocols.configs import (
    EngineConfig,
    HasWeights,
    MadeForTask,
    MayLackPrefixes,
    VerifierConfig,
    WholeOnly,
)
from orchestrator.protocols.models import (
    READOUTS,
    Engine,
    EngineBase,
    Method,
    ModelBase,
    ModelInfo,
    Readout,
    Sampler,
    Verifier,
    VerifierBase,
)
from orchestrator.protocols.requests import (
    NO_REPLICA,
    Completion,
    Failure,
    GenerateInChat,
    GenerateRequest,
    Loglik,
    LoglikInChat,
    LoglikRequest,
    ScoreReply,
    ScoreRequest,
)
from orchestrator.protocols.task import Task

__all__ = [
    "NO_REPLICA",
    "READOUTS",
    "Completion",
    "Engine",
    "EngineBase",
    "EngineConfig",
    "Failure",
    "GenerateInChat",
    "GenerateRequest",
    "HasWeights",
    "Loglik",
    "LoglikInChat",
    "LoglikRequest",
    "MadeForTask",
    "MayLackPrefixes",
    "Method",
    "ModelBase",
    "ModelInfo",
    "Readout",
    "Sampler",
    "ScoreReply",
    "ScoreRequest",
    "Task",
    "Verifier",
    "VerifierBase",
    "VerifierConfig",
    "WholeOnly",
]
