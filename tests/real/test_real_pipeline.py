"""A pipeline of a real chat model through its template: its roles are recorded, and how many can be read."""

from __future__ import annotations

import time
from collections import defaultdict
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
LAYERS = (
    "[[{generate:{}}],[{critique:{}}],[{rank:{top_k:3}}],[{verify:{}}],"
    "[{unit_tests:{}}],[{evaluate:{}}],[{fuse:{}}]]"
)


def planned(folder: Path) -> Plan:
    keys = [
        "task=gsm8k", f"task.path={shared(BENCHMARKS['gsm8k'])}", "task.max_tokens=48", "strategy=pipeline",
        f"strategy.layers={LAYERS}", "budget=3", "engine=transformers", f"engine.model={folder}",
        "engine.chat=true", "verifier=none", "run_dir=outputs/none",
    ]  # fmt: skip
    return only_composed(keys, plan_of)


async def test_a_pipeline_runs_through(folder: Path, table: list[tuple[str, str]]) -> None:
    """Two samples, every role, and a fusion; no gain is expected of a model of this size."""
    plan, results, begun = planned(folder), list[ProblemResult](), time.monotonic()
    engine = TransformersEngineConfig(str(folder), chat=True).build()
    controller = Controller(plan.strategy, engine, None, plan.task)
    await controller.run(plan.task.problems(0, NUM_PROBLEMS), results.append)
    await engine.close()
    assert [result.error for result in results] == [None] * NUM_PROBLEMS
    parsed, num_tokens = defaultdict[str, list[bool]](list), defaultdict[str, int](int)
    for result in results:
        assert result.solution is not None
        *said, fused = result.solution.history
        assert isinstance(fused, AttemptRecord) and fused.read
        assert len(result.candidates) == 3
        for record in said:
            assert isinstance(record, RoleRecord)
            parsed[record.role].append(record.parsed)
            num_tokens[record.role] += record.tokens
        by_role = {role: usage.generated_tokens for role, usage in result.by_role.items() if role != "fuse"}
        assert by_role == {r: sum(s.tokens for s in said if s.role == r) for r in {s.role for s in said}}
    assert set(parsed) >= {"critique", "rank", "reason", "verdict", "unit_tests"}
    for role, read in parsed.items():
        table.append((f"pipeline, {role}", f"{sum(read)} of {len(read)} read, {num_tokens[role]} tokens"))
    table.append(("pipeline", f"{NUM_PROBLEMS} problems in {time.monotonic() - begun:.1f} s"))
