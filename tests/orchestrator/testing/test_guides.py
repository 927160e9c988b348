"""CONTRIBUTING.md on engines, verifiers and tasks: its files are composed and tested as they are written."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import actors
import orchestrator
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.protocols import EngineBase, Task, VerifierBase
from tests.guide import blocks, example_of, run_in, run_tests


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Add a part as its guide says: the module, the public name and the file; return the code of its test."""

    def added(title: str, point: type[Any], package: ModuleType, name: str, choice: str) -> str:
        module = ModuleType("added")  # a class is looked up in its module
        monkeypatch.setitem(sys.modules, "added", module)
        *code, test = blocks("python", title)
        for block in (example_of(point), *code):
            run_in(module, block)
        monkeypatch.setattr(package, name, getattr(module, name), raising=False)
        (file,) = blocks("yaml", title)
        path = tmp_path / f"{choice}.yaml"
        path.parent.mkdir()
        path.write_text(file)
        return test

    return added


def plan(folder: Path, *choices: str) -> Plan:
    return only_composed(["--config-dir", str(folder), *choices, "run_dir=outputs/none"], plan_of)


def test_an_engine(add: Callable[..., str], tmp_path: Path) -> None:
    test = add("How to add an engine", EngineBase, actors, "DiceConfig", "engine/dice")
    engine = plan(tmp_path, "engine=dice", "verifier=none", "strategy=greedy").engine
    assert type(engine.build()).__name__ == "Dice"
    run_tests(test)


def test_a_verifier(add: Callable[..., str], tmp_path: Path) -> None:
    test = add("How to add a verifier", VerifierBase, actors, "DigitVerifierConfig", "verifier/digits")
    verifier = plan(tmp_path, "verifier=digits").verifier
    assert verifier.readout == "per_step"
    replicated = verifier.of_replicas
    assert replicated is not None and type(replicated.build()).__name__ == "DigitVerifier"
    run_tests(test)


def test_a_task(add: Callable[..., str], tmp_path: Path) -> None:
    test = add("How to add a task", Task, orchestrator, "DoublingTask", "task/doubling")
    made = plan(
        tmp_path, "task=doubling", "engine=openai", "engine.model=any", "verifier=none", "strategy=greedy"
    )
    assert [p.id for p in made.task.problems(0, 2)] == ["double-0", "double-1"]
    run_tests(test)
