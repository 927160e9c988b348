"""A real chat model that revises: its critiques and hints are recorded, and f and b are counted.

No gain is expected of a model of this size, and nearly no answer of it is right: see how often a revision
mends a wrong attempt (f) and breaks a right one (b).
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.transformers_engine.config import TransformersEngineConfig
from orchestrator.backend import DirectBackend
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.outcome import ProblemResult
from orchestrator.report.revised import Share, revised
from orchestrator.search.controller import Controller
from orchestrator.storage.result_lines import result_line
from orchestrator.types import RoleRecord
from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig
from tests.shared_data import BENCHMARKS, shared

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

NUM_PROBLEMS = 2


def planned(folder: Path, strategy: str, budget: int) -> Plan:
    keys = [
        "task=gsm8k", f"task.path={shared(BENCHMARKS['gsm8k'])}", "task.max_tokens=48",
        f"strategy={strategy}", f"budget={budget}", "engine=transformers", f"engine.model={folder}",
        "engine.chat=true", "verifier=self_certainty", "run_dir=outputs/none",
    ]  # fmt: skip
    return only_composed(keys, plan_of)


def shown(share: Share | None) -> str:
    return "-" if share is None else f"{share.value:.2f} of {share.num_attempts}"


@pytest.mark.parametrize(
    ("strategy", "budget", "role"),
    [("revisions", 4, None), ("self_refine", 3, "critique"), ("sequential_hints", 3, "hint")],
)
async def test_a_chat_model_revises(
    strategy: str, budget: int, role: str | None, folder: Path, table: list[tuple[str, str]]
) -> None:
    plan, results, begun = planned(folder, strategy, budget), list[ProblemResult](), time.monotonic()
    engine = TransformersEngineConfig(str(folder), chat=True).build()
    verifier = SelfCertaintyVerifierConfig().open(DirectBackend(engine), plan.task, {})
    await Controller(plan.strategy, engine, verifier, plan.task).run(
        plan.task.problems(0, NUM_PROBLEMS), results.append
    )
    await engine.close()
    assert [result.error for result in results] == [None] * NUM_PROBLEMS
    said = [r for x in results if x.solution for r in x.solution.history if isinstance(r, RoleRecord)]
    assert {record.role for record in said} == ({role} if role else set())
    assert "<|im_" in "".join(engine.info.special)
    found = revised(map(result_line, results))
    assert found is not None
    read = f", {sum(r.parsed for r in said)} of {len(said)} replies read" if said else ""
    f_and_b = f"f {shown(found.mends)}, b {shown(found.breaks)}"
    table.append((strategy, f"{f_and_b}{read}, {time.monotonic() - begun:.1f} s"))
