"""Tools for authors of engines, verifiers, tasks and strategies: fakes, and a check of what each promises.

``check_engine``, ``check_verifier``, ``check_task`` and ``check_strategy`` are coroutines that need neither
pytest nor Ray nor torch: call them in a test or with ``asyncio.run``.
"""

from __future__ import annotations

from orchestrator.testing.engine_case import EngineCase
from orchestrator.testing.engines import ENGINE_LAWS, check_engine
from orchestrator.testing.fake_tokens import EOS
from orchestrator.testing.fakes import (
    LETTERS,
    Copying,
    FakeEngine,
    FakeTask,
    FakeVerifier,
    Language,
    RandomLatency,
    RewardFunction,
    TokenLatency,
    letters_right,
)
from orchestrator.testing.laws import Law, hold, hold_all, name_of
from orchestrator.testing.solutions import assert_prefers_finished, assert_sound
from orchestrator.testing.strategies import ODD_LANGUAGES, STRATEGY_LAWS, StrategyCase, check_strategy
from orchestrator.testing.tasks import TASK_LAWS, TaskCase, check_task
from orchestrator.testing.verifiers import VERIFIER_LAWS, VerifierCase, check_verifier
from orchestrator.testing.worlds import PROBLEM, Table, World

__all__ = [
    "ENGINE_LAWS",
    "EOS",
    "LETTERS",
    "ODD_LANGUAGES",
    "PROBLEM",
    "STRATEGY_LAWS",
    "TASK_LAWS",
    "VERIFIER_LAWS",
    "Copying",
    "EngineCase",
    "FakeEngine",
    "FakeTask",
    "FakeVerifier",
    "Language",
    "Law",
    "RandomLatency",
    "RewardFunction",
    "StrategyCase",
    "Table",
    "TaskCase",
    "TokenLatency",
    "VerifierCase",
    "World",
    "assert_prefers_finished",
    "assert_sound",
    "check_engine",
    "check_strategy",
    "check_task",
    "check_verifier",
    "hold",
    "hold_all",
    "letters_right",
    "name_of",
]
