"""What the documents say of the models of long chains before any search: pass@N, and rewards by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bench.curves import markdown, short

COLUMNS = {
    "step": "step",
    "slips": "slips",
    "state_right": "state is right",
    "mean_reward": "mean reward",
    "confidence": "confidence",
    "judged_right": "judged right",
    "calibration_error": "calibration error",
    "auc_of_state": "AUC of the state",
}


def gates(figures: Mapping[str, Any]) -> str:
    """Return the figures that ``python -m actors.embedded.long_chain`` wrote, as text and a table."""
    pass_at, candidates = figures["pass_at"], figures["candidates"]
    intro = (
        f"{figures['problems']} development problems, {figures['samples']} samples each at temperature .8: "
        f"greedy\ndecoding solves {short(figures['greedy'])}, one sample {short(pass_at['1'])}, "
        f"one of eight {short(pass_at['8'])}."
    )
    rows = [[_cell(name, row[name]) for name in COLUMNS] for row in figures["by_step"]]
    tried = [f"- `{name}`: {'; '.join(failed) or 'none'}" for name, failed in candidates.items()]
    return "\n\n".join(
        [intro, markdown(list(COLUMNS.values()), rows), "Gates that each verifier fails:", "\n".join(tried)]
    )


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if name == "step" else short(value)
