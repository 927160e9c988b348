"""The values that the whole system is made of: frozen, slotted, picklable."""

from __future__ import annotations

from orchestrator.types.decoding import (
    REMASKINGS,
    Denoising,
    P,
    Params,
    Remasking,
    Sampling,
)
from orchestrator.types.records import (
    AttemptRecord,
    Granted,
    NodeRecord,
    Record,
    RoleRecord,
    RoundRecord,
    StepRecord,
    TrialRecord,
)
from orchestrator.types.rewards import Reward
from orchestrator.types.values import (
    ENGINE,
    Carried,
    Finish,
    Overhead,
    Problem,
    Prompt,
    Role,
    Solution,
    Step,
    Trajectory,
    Turn,
    Usage,
    total,
    usage_values,
)

__all__ = [
    "ENGINE",
    "REMASKINGS",
    "AttemptRecord",
    "Carried",
    "Denoising",
    "Finish",
    "Granted",
    "NodeRecord",
    "Overhead",
    "P",
    "Params",
    "Problem",
    "Prompt",
    "Record",
    "Remasking",
    "Reward",
    "Role",
    "RoleRecord",
    "RoundRecord",
    "Sampling",
    "Solution",
    "Step",
    "StepRecord",
    "Trajectory",
    "TrialRecord",
    "Turn",
    "Usage",
    "total",
    "usage_values",
]
