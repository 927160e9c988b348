"""What plans by difficulty gain on Countdown: ``python -m tests.bench.bench_plans``.

Fits them as ``python -m orchestrator.allocation fit`` does, to the development sweep and samples of
``bench_adaptive``, which are drawn where they are missing. The command cross-validates with one split into
two folds, and its gain depends on the split; here it is the mean over many. ``--docs`` writes
docs/data/plans.json and the table of docs/saturation.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from orchestrator.allocation.bounds import Interval, over_problems
from orchestrator.allocation.plans import Outcomes, cross_validated
from orchestrator.planning.fitting import FittedPlan, fit_plan, gain_of
from orchestrator.planning.outcomes import By, Swept, read_swept
from tests.bench.adaptive_fits import PROBES
from tests.bench.bench_adaptive import PLAN_SIZES, PLAN_STRATEGIES
from tests.bench.pilots import arguments, drawing, publish, size

LEVELS, FOLDS, NUM_SPLITS = 5, 2, 100
FITS: tuple[tuple[int, By, bool], ...] = (
    (4, "predicted", False),
    (6, "predicted", False),
    (6, "predicted", True),
    (8, "predicted", False),
    (8, "oracle", False),
)
"""Budgets, what difficulty is read off, and whether a level may spend what another saves."""


def in_order(swept: Swept) -> Swept:
    """Return the problems in the order of their names, so that the splits are those of any other run."""
    order = np.argsort(np.asarray(swept.problem_ids))
    return replace(
        swept,
        problem_ids=[swept.problem_ids[i] for i in order],
        charged=swept.charged.of(order),
        plain=swept.plain.of(order),
        rewards=[swept.rewards[i] for i in order],
        right=[swept.right[i] for i in order],
    )


def row(fitted: FittedPlan, by: By, *, across: bool) -> dict[str, Any]:
    """Return the figures of a plan beside the best single setting."""
    swept, budget = fitted.swept, fitted.budget
    return {
        "budget": budget,
        "by": by,
        "across": across,
        "single": swept.candidates[fitted.single].name,
        "single accuracy": round(float(fitted.own.uniform.mean()), 6),
        "cross-validated": held_out(swept.charged, swept.plain, budget, across=across),
        "probes not charged": held_out(swept.plain, swept.plain, budget, across=across),
        "in sample": _numbers(gain_of(fitted.own)),
        "oracle": round(fitted.oracle, 6),
    }


def held_out(charged: Outcomes, plain: Outcomes, budget: float, *, across: bool) -> dict[str, list[float]]:
    """Return the gain on other folds, a mean over random splits, and the least and the greatest of one.

    ``samples`` are those that the plan and the single setting spend.
    """
    rng, num = np.random.default_rng(0), len(charged.ease)
    gains, costs = np.zeros((NUM_SPLITS, num)), []
    for own in gains:
        order = rng.permutation(num)
        scored = cross_validated(charged.of(order), plain.of(order), LEVELS, budget, FOLDS, across=across)
        own[order] = scored.planned - scored.uniform
        costs.append((scored.planned_cost.mean(), scored.uniform_cost.mean()))
    by_split = gains.mean(axis=1)
    return {
        "gain": _numbers(over_problems(gains.mean(axis=0))),
        "splits": [round(float(x), 6) for x in (by_split.min(), by_split.max())],
        "samples": [round(float(x), 4) for x in np.mean(costs, axis=0)],
    }


def _numbers(found: Interval) -> list[float]:
    return [round(x, 6) for x in (found.value, found.low, found.high)]


def rows(swept: dict[By, Swept]) -> list[dict[str, Any]]:
    """Return a row for each of the fits."""
    options: Any = {"levels": LEVELS, "folds": FOLDS, "probes": PROBES}
    return [
        row(fit_plan(swept[by], by, budget=budget, across=across, **options), by, across=across)
        for budget, by, across in FITS
    ]


def main() -> None:
    args = arguments(__doc__)
    own = drawing(args, "countdown")
    reference, sweep = own.draw_dev(), own.draw_plan_sweep(PLAN_STRATEGIES, PLAN_SIZES)
    bys: tuple[By, ...] = ("predicted", "oracle")
    found = rows({by: in_order(read_swept(sweep, reference, by, PROBES)) for by in bys})
    of = {"task": "countdown", "strategies": list(PLAN_STRATEGIES), "sizes": list(PLAN_SIZES)}
    publish("plans", args, {**size(args), "splits": NUM_SPLITS, **of, "plans": found})


if __name__ == "__main__":
    main()
