"""Run directories written by hand: lines in the format of run.py, with the numbers that a test needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.storage.run_files import CONFIG, RESULTS, SUMMARY
from orchestrator.storage.totals import Totals
from orchestrator.types import Overhead, Usage


def candidate(answer: str | None, *, right: bool = False, **fields: Any) -> dict[str, Any]:
    """A finished candidate of one step."""
    text = fields.pop("text", f"#{answer}\n")
    return {
        "answer": answer,
        "text": text,
        "reward": 0.5,
        "log_weight": 0.0,
        "num_tokens": 4,
        "correct": right,
        "finished": True,
        "logprob": -1.0,
        "step_lengths": [len(text)],
        "step_log_odds": [0.0],
        **fields,
    }


def line(problem: str, right: bool, **fields: Any) -> dict[str, Any]:
    """A result line with one candidate."""
    answer = "1" if right else "0"
    usage = asdict(Usage(generated_tokens=fields.pop("tokens", 10), reward_calls=2, flops=100.0))
    return {
        "problem_id": problem,
        "question": f"the question of {problem}",
        "reference": "1",
        "answer": answer,
        "correct": right,
        "error": None,
        "stopped_by": None,
        "candidates": [candidate(answer, right=right)],
        "usage": usage,
        "overhead": asdict(Overhead()),
        "seconds": 0.5,
        "history": [],
        "answer_index": 0,
        **fields,
    }


def write_run(
    folder: Path,
    lines: Sequence[Mapping[str, Any]],
    *,
    strategy: str = "best_of_n",
    budget: int = 4,
    seed: int = 0,
    task: str = "chain",
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A run directory; ``config`` are nodes that replace those of its configuration."""
    folder.mkdir(parents=True)
    whole = {
        "task": {"_target_": "orchestrator.tasks.chain.ChainTask", "split": "test", "limit": 4, "offset": 0},
        "engine": {"_target_": "e", "model": "m", "cache_bytes": 1},
        "verifier": {"_target_": "v", "readout": "per_step"},
        "strategy": {
            "_target_": "strategies.best_of_n.BestOfN",
            "num_samples": budget,
            "selection": "argmax",
            "aggregation": "last",
        },
        "limits": {"generated_tokens": None, "reward_calls": None, "seconds": None},
        "budget": budget,
        "seed": seed,
        **(config or {}),
    }
    names = {"strategy": strategy, "task": task, "engine": "embedded", "verifier": "embedded"}
    totals = Totals()
    for each in lines:
        totals.add(each)
    summary = {**names, "budget": budget, "seed": seed, "complete": True, **totals.summary()}
    (folder / CONFIG).write_text(json.dumps(whole))
    (folder / SUMMARY).write_text(json.dumps({**summary, "wall_seconds": 8.0}))
    (folder / RESULTS).write_text("".join(json.dumps(each) + "\n" for each in lines))
    return folder


def lines(outcomes: Sequence[int]) -> list[dict[str, Any]]:
    """A line for each outcome, 1 for a right answer."""
    return [line(f"p{i}", bool(right)) for i, right in enumerate(outcomes)]
