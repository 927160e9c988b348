"""The figures of a point: accuracy with its intervals, and what a problem has cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from orchestrator.intervals import mean_interval, wilson_interval
from orchestrator.report.runs import SavedRun
from orchestrator.report.settings import ReportPoint, Series, Setting
from orchestrator.search.budgets import cut_by


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One point of one series; costs are means over problems and seeds, counts are sums.

    The interval of ``accuracy`` is over seeds (Student's t on the runs' accuracies: the effect of randomness
    in the search), or over problems (Wilson) with one seed. That of ``over_problems`` shows how well these
    problems represent others.
    """

    series: str
    label: str
    budget: int
    num_seeds: int
    num_problems: int
    accuracy: Estimate
    over_problems: Estimate
    pass_at_budget: float
    costs: Mapping[str, float]
    num_ties: int
    num_errors: int
    num_stopped: int
    complete: bool
    quoted: Mapping[str, float] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float | None:
        """Generated tokens over the wall time of whole runs; None where that is not known."""
        seconds = self.costs["seconds"]
        return self.costs["generated_tokens"] / seconds if seconds else None


COSTS = {
    "generated_tokens": "generated tokens a problem",
    "sequential_tokens": "sequential tokens a problem",
    "reward_calls": "reward calls a problem",
    "flops": "FLOPs a problem",
    "cost": "cost a problem",
    "seconds": "wall seconds a problem",
}
HEADS = {
    "generated_tokens": "tokens",
    "sequential_tokens": "sequential tokens",
    "reward_calls": "reward calls",
    "flops": "FLOPs",
    "cost": "cost",
    "seconds": "wall s",
}
"""The same in the head of a table."""


def measure(series: Series, point: ReportPoint) -> Measured:
    """Return the figures of one point."""
    runs = point.runs
    return Measured(
        series=series.name,
        label=point.label,
        budget=point.budget,
        num_seeds=len(runs),
        num_problems=min(len(run.columns) for run in runs),
        accuracy=_over_seeds(runs),
        over_problems=_over_problems(runs),
        pass_at_budget=fmean(_mean(run.columns.passed) for run in runs),
        costs={
            **{cost: fmean(_mean(getattr(run.columns, cost)) for run in runs) for cost in list(COSTS)[:-1]},
            "seconds": _seconds(runs),
        },
        num_ties=sum(sum(run.columns.tie) for run in runs),
        num_errors=sum(e is not None for run in runs for e in run.columns.error),
        num_stopped=sum(s is not None for run in runs for s in run.columns.stopped_by),
        complete=all(run.summary["complete"] for run in runs),
        quoted=_quoted(runs),
    )


def _quoted(runs: Sequence[SavedRun]) -> dict[str, float]:
    """Return the figures that papers quote, means over the runs; those that every run has.

    Summaries of earlier releases have some of samples that were cut, where they say something else.
    """
    found = [run.summary.get("quoted", {}) if cut_by(run.config) is None else {} for run in runs]
    return {name: fmean(each[name] for each in found) for name in found[0] if all(name in q for q in found)}


def quoted_columns(points: Sequence[Measured]) -> list[str]:
    """Return the names of a table of quoted figures: pass@k by k, then the others, whatever their N."""
    names = {generic(name) for point in points for name in point.quoted}
    return sorted(names, key=_place)


def generic(name: str) -> str:
    """Return ``majority@N`` for ``majority@8`` and ``pass@1[avg-of-N]``; ``pass@8`` stays."""
    return name if _is_pass(name) else re.sub(r"(@|avg-of-)\d+(\]?)$", r"\1N\2", name)


def _place(name: str) -> tuple[int, str]:
    return (int(name.removeprefix("pass@")), "") if _is_pass(name) else (2**60 + _LAST.index(name), name)


def _is_pass(name: str) -> bool:
    return name.removeprefix("pass@").isdecimal()


_LAST = ("pass@1[avg-of-N]", "majority@N", "weighted@N", "naive@N")


def _seconds(runs: Sequence[SavedRun]) -> float:
    """Return the wall time per problem; 0 if that of a run is not known."""
    known = all(run.wall_seconds for run in runs)
    return fmean(run.wall_seconds / max(1, len(run.columns)) for run in runs) if known else 0.0


def measure_all(setting: Setting) -> dict[str, list[Measured]]:
    """Return the points of each series by rising budget."""
    return {s.name: [measure(s, point) for point in s.points] for s in setting.series}


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0


def _over_seeds(runs: Sequence[SavedRun]) -> Estimate:
    if len(runs) == 1:
        correct = runs[0].columns.correct
        return Estimate(_mean(correct), *wilson_interval(sum(correct), len(correct)))
    mean, low, high = mean_interval([_mean(run.columns.correct) for run in runs])
    return Estimate(mean, max(0.0, low), min(1.0, high))


def _over_problems(runs: Sequence[SavedRun]) -> Estimate:
    """Return the mean over problems: answers of several seeds to one problem are not independent."""
    if len(runs) == 1:
        return _over_seeds(runs)
    means = mean_by_problem(runs)
    if not means:
        return Estimate(0.0, 0.0, 1.0)
    mean, low, high = mean_interval(list(means.values()))
    return Estimate(mean, max(0.0, low), min(1.0, high))


def mean_by_problem(runs: Sequence[SavedRun]) -> dict[str, float]:
    """Return by problem the share of seeds that were right, for the problems that every run has."""
    rows = [run.by_problem() for run in runs]
    shared = rows[0].keys() & set.intersection(*(set(row) for row in rows))
    return {i: fmean(row[i] for row in rows) for i in rows[0] if i in shared}


def pareto(points: Sequence[Measured], cost: str) -> list[Measured]:
    """Return the points that no other beats in accuracy at the same or a lower cost, by rising cost."""
    frontier: list[Measured] = []
    for point in sorted(points, key=lambda p: (p.costs[cost], -p.accuracy.value)):
        if not frontier or point.accuracy.value > frontier[-1].accuracy.value:
            frontier.append(point)
    return frontier
