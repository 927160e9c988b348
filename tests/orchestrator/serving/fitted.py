"""Small files that a configuration names: a plan, the coefficients of a vote, and a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.calibrated import task_mark, verifier_mark
from orchestrator.config.plan import Plan
from orchestrator.protocols import HasWeights
from orchestrator.storage.fitted_files import write_fitted

SAMPLING = {"_target_": "orchestrator.Sampling", "temperature": 0.8, "top_p": 1.0, "max_tokens": 128}
THREE_SAMPLES = {"_target_": "strategies.BestOfN", "num_samples": 3, "sampling": SAMPLING}


def write_plan(path: Path, budget: int, setting: Mapping[str, Any] = THREE_SAMPLES) -> Path:
    """A plan for ``compute_optimal`` with one setting for all problems."""
    content = {
        "by": "predicted", "task": "chain", "engine": "embedded", "cuts": [], "chosen": [0],
        "settings": [setting], "budget": budget, "probes": 4, "gains": [0.0, 0.0, 0.0, 0.0],
    }  # fmt: skip
    write_fitted(path, "plan", content)
    return path


def write_votes(path: Path) -> Path:
    """Votes for ``self_consistency`` that are smaller for longer texts."""
    write_fitted(path, "vote plan", {"coefficients": [-0.1, 0.0], "intercept": 1.0, "words": []})
    return path


def write_calibration(path: Path, plan: Plan) -> Path:
    """A map that halves the log-odds of a plan's verifier."""
    verifier = plan.verifier
    mark = verifier_mark(
        plan.plain["verifier"], verifier.digest() if isinstance(verifier, HasWeights) else None
    )
    content = {
        "verifier": mark, "verifier_name": plan.names["verifier"],
        "problems": {"task": task_mark(plan.plain["task"]), "offset": 1000, "num": 10},
        "maps": [{"knots": [-50.0, 50.0], "values": [-25.0, 25.0]}],
    }  # fmt: skip
    write_fitted(path, "calibration", content)
    return path
