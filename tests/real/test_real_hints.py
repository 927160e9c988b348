"""A real chat model that gives itself hints: a conversation through its template, each hint recorded."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.transformers_engine.config import TransformersEngineConfig
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.outcome import ProblemResult
from orchestrator.search.controller import Controller
from orchestrator.types import AttemptRecord, RoleRecord
from tests.shared_data import BENCHMARKS, shared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_PROBLEMS = 2


def planned(folder: Path) -> Plan:
    keys = [
        "task=gsm8k", f"task.path={shared(BENCHMARKS['gsm8k'])}", "task.max_tokens=32", "budget=3",
        "strategy=sequential_hints", "engine=transformers", f"engine.model={folder}", "engine.chat=true",
        "verifier=none", "run_dir=outputs/none",
    ]  # fmt: skip
    return only_composed(keys, plan_of)


async def test_a_chat_with_hints_runs_through(folder: Path, table: list[tuple[str, str]]) -> None:
    """Nearly no answer of a model of this size is right: no gain is expected."""
    plan, results, begun = planned(folder), list[ProblemResult](), time.monotonic()
    engine = TransformersEngineConfig(str(folder), chat=True).build()
    assert {"<|im_start|>", "<|im_end|>"} <= set(engine.info.special)
    await Controller(plan.strategy, engine, None, plan.task).run(
        plan.task.problems(0, NUM_PROBLEMS), results.append
    )
    await engine.close()
    assert [result.error for result in results] == [None] * NUM_PROBLEMS
    history = [record for result in results if result.solution for record in result.solution.history]
    hints = [record for record in history if isinstance(record, RoleRecord)]
    attempts = [record for record in history if isinstance(record, AttemptRecord)]
    assert {hint.role for hint in hints} == {"hint"}
    assert len(hints) == len(attempts) - NUM_PROBLEMS  # one before each attempt but the first
    cached = sum(result.usage.cached_tokens for result in results)
    read = f"{sum(hint.parsed for hint in hints)} of {len(hints)} hints used"
    table.append(("sequential_hints", f"{read}, {cached} tokens cached, {time.monotonic() - begun:.1f} s"))
