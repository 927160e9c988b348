"""The example in the docstring of each extension point is whole, and keeps the laws of its check."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from orchestrator import testing
from orchestrator.protocols import EngineBase, Task, VerifierBase
from orchestrator.search.strategy import Strategy
from tests.guide import example_of, run_in

EXTENSION_POINTS: dict[str, type[Any]] = {
    "check_engine": EngineBase,
    "check_verifier": VerifierBase,
    "check_task": Task,
    "check_strategy": Strategy,
}


@pytest.mark.parametrize("check", EXTENSION_POINTS)
def test_its_example_runs_and_is_checked(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checked, original = [], getattr(testing, check)

    async def watched(value: Any, **knobs: Any) -> None:
        await original(value, **knobs)
        checked.append(type(value).__name__)

    monkeypatch.setattr(testing, check, watched)
    example = ModuleType("example")  # pickle looks a class up in its module
    monkeypatch.setitem(sys.modules, "example", example)
    run_in(example, example_of(EXTENSION_POINTS[check]))
    assert len(checked) == 1
