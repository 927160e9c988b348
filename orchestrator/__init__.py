"""The controller of inference-time search: values, session, scheduling, results and tasks.

Each name below is imported when it is first used: importing this package loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.allocation.rounds import Rounds, Uniform
    from orchestrator.observe.tracking import JsonlTracker, NoTracker
    from orchestrator.observe.wandb_tracker import WandbTracker
    from orchestrator.tasks.chain import ChainTask
    from orchestrator.tasks.choices import DrawnChoices, ListedChoices
    from orchestrator.tasks.countdown import CountdownTask
    from orchestrator.tasks.dataset import DatasetTask
    from orchestrator.tasks.twoway import TwoWayTask
    from orchestrator.types import Denoising, Sampling
    from orchestrator.verifiers.none import NoVerifier
    from orchestrator.verifiers.oracle import OracleConfig
    from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig

_PLACES = {
    "ChainTask": "orchestrator.tasks.chain",
    "CountdownTask": "orchestrator.tasks.countdown",
    "DatasetTask": "orchestrator.tasks.dataset",
    "Denoising": "orchestrator.types",
    "DrawnChoices": "orchestrator.tasks.choices",
    "JsonlTracker": "orchestrator.observe.tracking",
    "ListedChoices": "orchestrator.tasks.choices",
    "NoTracker": "orchestrator.observe.tracking",
    "NoVerifier": "orchestrator.verifiers.none",
    "OracleConfig": "orchestrator.verifiers.oracle",
    "Rounds": "orchestrator.allocation.rounds",
    "Sampling": "orchestrator.types",
    "SelfCertaintyVerifierConfig": "orchestrator.verifiers.self_certainty",
    "TwoWayTask": "orchestrator.tasks.twoway",
    "Uniform": "orchestrator.allocation.rounds",
    "WandbTracker": "orchestrator.observe.wandb_tracker",
}

__all__ = [
    "ChainTask",
    "CountdownTask",
    "DatasetTask",
    "Denoising",
    "DrawnChoices",
    "JsonlTracker",
    "ListedChoices",
    "NoTracker",
    "NoVerifier",
    "OracleConfig",
    "Rounds",
    "Sampling",
    "SelfCertaintyVerifierConfig",
    "TwoWayTask",
    "Uniform",
    "WandbTracker",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
