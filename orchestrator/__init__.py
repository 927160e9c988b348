"""The controller of inference-time search: values, session, scheduling, results and tasks.

Each name below is imported when it is first used: importing this package loads nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.no_verifier import NoVerifier
    from orchestrator.oracle import OracleConfig
    from orchestrator.self_certainty import SelfCertaintyVerifierConfig
    from orchestrator.tasks.chain import ChainTask
    from orchestrator.tasks.choices import DrawnChoices, ListedChoices
    from orchestrator.tasks.countdown import CountdownTask
    from orchestrator.tasks.dataset import DatasetTask
    from orchestrator.tasks.twoway import TwoWayTask

_PLACES = {
    "ChainTask": "orchestrator.tasks.chain",
    "CountdownTask": "orchestrator.tasks.countdown",
    "DatasetTask": "orchestrator.tasks.dataset",
    "DrawnChoices": "orchestrator.tasks.choices",
    "ListedChoices": "orchestrator.tasks.choices",
    "NoVerifier": "orchestrator.no_verifier",
    "OracleConfig": "orchestrator.oracle",
    "SelfCertaintyVerifierConfig": "orchestrator.self_certainty",
    "TwoWayTask": "orchestrator.tasks.twoway",
}

__all__ = [
    "ChainTask",
    "CountdownTask",
    "DatasetTask",
    "DrawnChoices",
    "ListedChoices",
    "NoVerifier",
    "OracleConfig",
    "SelfCertaintyVerifierConfig",
    "TwoWayTask",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
