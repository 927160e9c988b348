"""From outcomes to a plan: its file, and how it would have done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.allocation.bounds import Interval, over_problems
from orchestrator.allocation.plans import (
    Scored,
    Table,
    best_within,
    cross_validated,
    fit_table,
    in_sample,
    oracle_allocation,
)
from orchestrator.allocation.subsets import best_of
from orchestrator.errors import ConfigError
from orchestrator.planning.outcomes import By, Swept
from orchestrator.storage.fitted_files import write_fitted

KIND = "plan"


@dataclass(frozen=True)
class FittedPlan:
    """A plan with its scores.

    ``own`` is in sample, a bound; ``held_out`` is cross-validated; ``uncharged`` too, with the probes for
    nothing, as in the paper. ``oracle`` is best-of-N if it were known in advance what each sample gains.
    """

    swept: Swept
    by: By
    probes: int
    budget: float
    table: Table
    single: int
    own: Scored
    held_out: Scored
    uncharged: Scored
    oracle: float

    @property
    def settings(self) -> list[int]:
        """The settings that some level has, in order."""
        return sorted({*self.table.chosen})

    def write(self, path: Path) -> None:
        """Write the file of the plan. Raises ConfigError."""
        write_fitted(path, KIND, self.content)

    @property
    def content(self) -> dict[str, Any]:
        """What the file holds: settings as nodes, levels by index, and the figures."""
        held_out = gain_of(self.held_out)
        candidates, place = self.swept.candidates, {s: i for i, s in enumerate(self.settings)}
        return {
            "by": self.by,
            "probes": self.probes,
            "budget": self.budget,
            "task": self.swept.task,
            "engine": self.swept.engine,
            "num_problems": len(self.swept.problem_ids),
            "cuts": list(self.table.cuts),
            "chosen": [place[s] for s in self.table.chosen],
            "names": [candidates[s].name for s in self.settings],
            "settings": [dict(candidates[s].node) for s in self.settings],
            "single": candidates[self.single].name,
            "gains": [self.own.gain, held_out.value, held_out.low, held_out.high],
        }


def gain_of(scored: Scored) -> Interval:
    """Return the plan's accuracy minus that of the single setting, paired over problems."""
    return over_problems(scored.planned - scored.uniform)


def fit_plan(
    swept: Swept, by: By, *, levels: int, folds: int, budget: float, probes: int, across: bool
) -> FittedPlan:
    """Fit a plan and score it. Raises ConfigError where no setting is within the budget."""
    charged, plain = swept.charged, swept.plain
    fewest = min(len(right) for right in swept.right)
    curves = np.asarray(
        [best_of(x, r, range(1, fewest + 1)) for x, r in zip(swept.rewards, swept.right, strict=True)]
    )
    try:
        return FittedPlan(
            swept=swept,
            by=by,
            probes=probes,
            budget=budget,
            table=fit_table(charged, levels, budget, across=across),
            single=best_within(plain, budget),
            own=in_sample(charged, plain, levels, budget, across=across),
            held_out=cross_validated(charged, plain, levels, budget, folds, across=across),
            uncharged=cross_validated(plain, plain, levels, budget, folds, across=across),
            oracle=oracle_allocation(curves, min(budget, fewest)),
        )
    except ValueError as failure:
        raise ConfigError("budget", f"{budget:g}", str(failure)) from None
