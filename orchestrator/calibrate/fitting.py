"""From a stored run to a calibration file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.allocation.calibration import At, MapName, fit_steps
from orchestrator.allocation.reliability import (
    NUM_FOLDS,
    Quality,
    by_step,
    held_out,
    last_rewards,
    quality,
)
from orchestrator.config.calibrated import KIND, task_mark, verifier_mark
from orchestrator.errors import ConfigError
from orchestrator.samples.stored import StoredSamples
from orchestrator.storage.fitted_files import write_fitted
from orchestrator.storage.inputs import model_digest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fitted:
    """A calibration as its file holds it, and how good rewards are before and after (held out)."""

    content: dict[str, Any]
    before: Quality
    after: Quality
    steps: Sequence[Quality]

    def write(self, path: Path) -> None:
        """Write the file. Raises ConfigError."""
        write_fitted(path, KIND, self.content)


def fit_calibration(stored: StoredSamples, folder: Path, name: MapName, at: At) -> Fitted:
    """Fit a calibration to a run. Raises ConfigError where the run does not allow it."""
    verifier = stored.config["verifier"]
    if verifier.get("calibration") is not None:
        raise ConfigError(
            "RUN_DIR", folder, "has calibrated rewards already: give a run without a calibration"
        )
    if not stored.has_rewards or len(stored.steps) < NUM_FOLDS:
        allowed = f"needs rewards of {NUM_FOLDS} problems or more: give a run with a verifier"
        raise ConfigError("RUN_DIR", folder, allowed)
    right = stored.samples.right
    flat_steps = [s for each in stored.steps for s in each]
    flat_right = [bool(r) for each in right for r in each]
    try:
        made = fit_steps(name, at, flat_steps, flat_right)
        after = quality(*held_out(name, at, stored.steps, right))
    except ValueError as failure:
        raise ConfigError("map", name, str(failure)) from None
    before = quality(*last_rewards(stored.steps, right))
    content = {
        "map": name,
        "at": at,
        "verifier": verifier_mark(verifier, model_digest(folder, "verifier")),
        "verifier_name": stored.summary["verifier"],
        "problems": _problems(stored),
        "held_out": {"folds": NUM_FOLDS, "before": before.entry, "after": after.entry},
        "maps": [{"knots": list(m.knots), "values": list(m.values)} for m in made.maps],
    }
    return Fitted(content, before, after, by_step(stored.steps, right))


def _problems(stored: StoredSamples) -> dict[str, Any]:
    task = stored.config["task"]
    return {
        "task": task_mark(task),
        "offset": int(task.get("offset") or 0),
        "num": max(len(stored.problem_ids), int(task.get("limit") or 0)),
    }
