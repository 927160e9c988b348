"""Revisions and self-refine of a real chat model: attempts follow each other, with f, b and accuracies."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from actors.transformers_engine.config import TransformersEngineConfig
from orchestrator.backend import DirectBackend
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.observe.progress import revised_rows
from orchestrator.search.controller import Controller
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.totals import Totals
from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig
from tests.shared_data import BENCHMARKS, shared_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

EASY = {
    "Tom has 2 apples and buys 3 more apples. How many apples does he have?": 5,
    "A box holds 10 pens. How many pens do 3 boxes hold?": 30,
}
"""Beside a row of GSM8K: without a right attempt there is nothing that a revision could break."""

OWN = {
    "revisions": [
        "budget=4",
        "verifier=self_certainty",
        "strategy.carry=last",
        "strategy.sampling.temperature=0.3",
    ],
    "self_refine": [
        "budget=3",
        "verifier=none",
        "strategy.sampling.temperature=0",
        "strategy.critique_sampling.max_tokens=32",
    ],
}


def planned(strategy: str, folder: Path, rows: Path) -> Plan:
    keys = [
        "task=gsm8k", f"task.path={rows}", "task/prompt=five_examples", "task.answer_marker='####'",
        "task.max_tokens=48", f"strategy={strategy}", "engine=transformers", f"engine.model={folder}",
        "engine.chat=true", "run_dir=outputs/none",
    ]  # fmt: skip

    def plan(config: DictConfig) -> Plan:
        config.task.instruction = config.task.instruction.partition("\n\n")[0]  # one example: a short prompt
        return plan_of(config)

    return only_composed([*keys, *OWN[strategy]], plan)


def mixed_rows(path: Path) -> Path:
    easy = [{"question": text, "answer": f"#### {number}"} for text, number in EASY.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in [shared_rows(BENCHMARKS["gsm8k"])[1], *easy]))
    return path


@pytest.mark.parametrize("strategy", OWN)
async def test_a_model_revises(
    strategy: str, folder: Path, tmp_path: Path, table: list[tuple[str, str]]
) -> None:
    """Three problems, and what a run's summary shows of them; no gain is expected of 135 M parameters."""
    plan, totals = planned(strategy, folder, mixed_rows(tmp_path / "rows.jsonl")), Totals()
    engine, begun = TransformersEngineConfig(str(folder), chat=True).build(), time.monotonic()
    verifier = None
    if strategy == "revisions":
        verifier = SelfCertaintyVerifierConfig().open(DirectBackend(engine), plan.task, {})
    lines = list[dict[str, Any]]()
    await Controller(plan.strategy, engine, verifier, plan.task).run(
        plan.task.problems(0, 3), lambda result: lines.append(result_line(result))
    )
    await engine.close()
    num_revisions = num_critiques = 0
    for line in lines:
        assert line["error"] is None
        totals.add(line)
        num_revisions += sum(bool(entry.get("read")) for entry in line["history"])
        num_critiques += sum(entry.get("role") == "critique" for entry in line["history"])
    assert num_revisions > 0
    assert (num_critiques > 0) == (strategy == "self_refine")
    found = totals.summary()["revised"]
    shares = [share for share in (found["mends"], found["breaks"]) if share is not None]
    assert sum(share["num_attempts"] for share in shares) == num_revisions
    table += [(f"{strategy}, {name}", value) for name, value in revised_rows(found)]
    table.append((strategy, f"{len(lines)} problems in {time.monotonic() - begun:.1f} s"))
