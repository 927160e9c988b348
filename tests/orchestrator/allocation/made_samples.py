"""Runs of independent samples, written by hand: problems of known chances, with rewards that help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.orchestrator.report.made_runs import candidate, line, write_run


def sampled_line(problem: str, rng: np.random.Generator, num_samples: int, chance: float) -> dict[str, Any]:
    """A problem whose samples are right with a chance; the answer is the first of the greatest reward."""
    right = rng.random(num_samples) < chance
    log_odds = 2.0 * right - 1 + rng.normal(size=num_samples)
    best = int(np.argmax(log_odds))
    candidates = [
        candidate("1" if r else f"{rng.integers(2, 5)}", right=bool(r), step_log_odds=[0.0, float(x)],
                  text="a\n#b\n", step_lengths=[2, 3], reward=float(1 / (1 + np.exp(-x))))
        for r, x in zip(right, log_odds, strict=True)
    ]  # fmt: skip
    order = sorted(range(num_samples), key=lambda i: i != best)
    own = {"candidates": [candidates[i] for i in order], "answer_index": best}
    return line(problem, bool(right[best]), **own)


def write_samples(
    folder: Path,
    *,
    num_problems: int = 40,
    num_samples: int = 16,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
    first: int = 0,
    **how: Any,
) -> Path:
    """A run of best_of_n whose problems have chances from Beta(1, 1.5)."""
    rng = np.random.default_rng(seed)
    chances = rng.beta(1.0, 1.5, num_problems)
    lines = [sampled_line(f"p{first + i}", rng, num_samples, p) for i, p in enumerate(chances)]
    return write_run(folder, lines, budget=num_samples, config=config, **how)
