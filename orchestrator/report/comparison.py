"""Two methods on the same problems: paired differences with a sign test (McNemar's, with one seed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.intervals import holm, mean_interval, sign_test
from orchestrator.report.measures import Estimate, mean_by_problem
from orchestrator.report.settings import ReportPoint, Series, Setting

PREFERRED = ("best_of_n", "self_consistency", "greedy")


@dataclass(frozen=True, slots=True)
class Compared:
    """A method minus the reference at one budget.

    Wins and losses count problems on which one was right more often over the seeds; ``p`` is exact (sign
    test), ``p_holm`` is corrected for all comparisons of its table.
    """

    series: str
    label: str
    difference: Estimate
    num_wins: int
    num_losses: int
    num_problems: int
    p: float
    p_holm: float


def reference_of(setting: Setting) -> Series | None:
    """Return what the others are compared with: a baseline if there is one; None for a single series."""
    if len(setting.series) < 2:
        return None
    named = {s.name: s for s in setting.series}
    return next((named[name] for name in PREFERRED if name in named), setting.series[0])


def compare_all(setting: Setting, reference: Series) -> list[Compared]:
    """Compare every other series with the reference, wherever both have a point of one budget and limits."""
    at = {(p.budget, p.limits): p for p in reference.points}
    rows = [
        compared
        for series in setting.series
        if series is not reference
        for point in series.points
        if (point.budget, point.limits) in at
        and (compared := _compare(series, point, at[point.budget, point.limits])) is not None
    ]
    corrected = holm([row.p for row in rows])
    return [replace(row, p_holm=p) for row, p in zip(rows, corrected, strict=True)]


def _compare(series: Series, point: ReportPoint, other: ReportPoint) -> Compared | None:
    """Compare two points; None if they have no seed or no problem in common."""
    seeds = {r.seed for r in point.runs} & {r.seed for r in other.runs}
    if not seeds:
        return None
    ours, theirs = (mean_by_problem([r for r in p.runs if r.seed in seeds]) for p in (point, other))
    differences = [ours[i] - theirs[i] for i in ours if i in theirs]
    if not differences:
        return None
    wins, losses = _count(differences)
    mean, low, high = mean_interval(differences)
    p = sign_test(wins, losses)
    difference = Estimate(mean, max(-1.0, low), min(1.0, high))
    return Compared(series.name, point.label, difference, wins, losses, len(differences), p, p)


def _count(differences: Sequence[float]) -> tuple[int, int]:
    return sum(d > 0 for d in differences), sum(d < 0 for d in differences)
