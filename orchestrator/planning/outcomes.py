"""A sweep and a reference as outcomes: accuracy and cost of each setting on each problem, and its ease."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np

from orchestrator.allocation.calibration import sigmoid
from orchestrator.allocation.plans import Floats, Outcomes
from orchestrator.config.files import TARGET, shipped_strategies
from orchestrator.errors import ConfigError
from orchestrator.report.levels import is_sampled
from orchestrator.report.measures import mean_by_problem
from orchestrator.report.runs import SavedRun, read_runs
from orchestrator.report.settings import arrange
from orchestrator.samples.stored import StoredSamples, read_stored
from orchestrator.search.budgets import reads_budget

By = Literal["oracle", "predicted"]
BYS: tuple[By, ...] = get_args(By)


@dataclass(frozen=True)
class Candidate:
    """A setting of the sweep: a strategy with its knobs at one budget, and its runs by seed.

    ``budget`` is the most that it costs, in samples; infinity where the strategy does not read the budget.
    """

    name: str
    node: Mapping[str, Any]
    budget: float
    is_sampled: bool
    runs: Sequence[SavedRun]


@dataclass(frozen=True)
class Swept:
    """What a plan is fitted to: ``charged`` with the probes' cost, ``plain`` without; costs are in samples.

    ``reference`` holds the samples of the same problems, in the same order.
    """

    candidates: Sequence[Candidate]
    problem_ids: Sequence[str]
    charged: Outcomes
    plain: Outcomes
    rewards: Sequence[Floats]
    right: Sequence[Any]
    task: str
    engine: str


def read_swept(sweep: Path, reference: Path, by: By, probes: int) -> Swept:
    """Read a sweep and its reference. Raises ConfigError where they do not fit."""
    candidates, setting_name = _candidates(sweep)
    stored = read_stored(reference, "reference")
    if by == "predicted" and not stored.has_rewards:
        raise ConfigError("reference", reference, "has no rewards, which by=predicted needs")
    rows = {problem: i for i, problem in enumerate(stored.problem_ids)}
    shared = set.intersection(*(set(mean_by_problem(c.runs)) for c in candidates)) & rows.keys()
    ids = [problem for problem in stored.problem_ids if problem in shared]
    if len(ids) < 2:
        raise ConfigError("reference", reference, f"has fewer than 2 problems of the sweep ({setting_name})")
    index = [rows[problem] for problem in ids]
    fewest = min(len(stored.samples.right[i]) for i in index)
    if fewest < probes:
        raise ConfigError("probes", probes, f"must be at most {fewest}, the samples of a reference problem")
    unit = fmean(float(stored.tokens[i].mean()) for i in index)
    probed = np.asarray([stored.tokens[i][:probes].sum() / unit for i in index])
    accuracy = np.asarray([_row(c, ids, lambda run: run.by_problem()) for c in candidates])
    cost = np.asarray([_row(c, ids, _tokens) for c in candidates]) / unit
    ease = np.asarray([_ease(stored, i, by, probes) for i in index])
    paid = [
        np.maximum(x, probed) if c.is_sampled else x + probed for c, x in zip(candidates, cost, strict=True)
    ]
    charged = cost if by == "oracle" else np.asarray(paid)
    nominal = np.asarray([c.budget for c in candidates])
    extra = [max(0.0, probes - c.budget) if c.is_sampled else float(probes) for c in candidates]
    most = nominal if by == "oracle" else nominal + np.asarray(extra)
    first = candidates[0].runs[0]
    return Swept(
        candidates=candidates,
        problem_ids=ids,
        charged=Outcomes(accuracy, charged, ease, most),
        plain=Outcomes(accuracy, cost, ease, nominal),
        rewards=[stored.samples.log_odds[i] for i in index],
        right=[stored.samples.right[i] for i in index],
        task=str(first.summary["task"]),
        engine=str(first.summary["engine"]),
    )


def _candidates(sweep: Path) -> tuple[list[Candidate], str]:
    runs = [run for run in read_runs(sweep, 0) if not run.summary.get("oracle") and not _has_plan(run)]
    settings = arrange(runs)
    if len(settings) != 1:
        names = "; ".join(s.name for s in settings) or "none without an oracle or a plan"
        raise ConfigError("SWEEP", sweep, f"must hold runs of one task and one engine, and holds: {names}")
    found = [
        Candidate(
            name=f"{series.name} {point.label}",
            node=point.runs[0].config["strategy"],
            budget=_nominal(point.runs[0]),
            is_sampled=is_sampled(str(point.runs[0].config["strategy"].get(TARGET))),
            runs=point.runs,
        )
        for series in settings[0].series
        for point in series.points
    ]
    return found, settings[0].name


def _nominal(run: SavedRun) -> float:
    target = str(run.config["strategy"].get(TARGET))
    return float(run.budget) if target in shipped_strategies() and reads_budget(target) else math.inf


def _has_plan(run: SavedRun) -> bool:
    return isinstance(run.config["strategy"].get("plan"), Mapping)


def _row(candidate: Candidate, ids: Sequence[str], of: Any) -> list[float]:
    """Return the mean over the seeds for each problem."""
    values = [of(run) for run in candidate.runs]
    return [fmean(each[problem] for each in values) for problem in ids]


def _tokens(run: SavedRun) -> dict[str, float]:
    return dict(zip(run.columns.problem_id, map(float, run.columns.generated_tokens), strict=True))


def _ease(stored: StoredSamples, index: int, by: By, probes: int) -> float:
    """Return the pass rate of all samples, or the mean reward of the probes as a run sees it."""
    if by == "oracle":
        return float(stored.samples.right[index].mean())
    return float(sigmoid(stored.samples.log_odds[index][:probes]).mean())
