"""Two methods on the same problems: paired differences with a sign test (McNemar's, with one seed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.intervals import holm, mean_interval, sign_test
from orchestrator.report.measures import Estimate, mean_by_problem
from orchestrator.report.settings import ReportPoint, Series, Setting, spends_all

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
    """Return what the others are compared with: a baseline if there is one; None for a single series.

    A strategy that was run with and without a rule that saves compute is its own baseline: without.
    """
    if len(setting.series) < 2:
        return None
    named = {s.name: s for s in setting.series}
    exact = next((named[name] for name in PREFERRED if name in named), None)
    return exact or _without_rules(setting) or setting.series[0]


def _without_rules(setting: Setting) -> Series | None:
    saving = {s.points[0].runs[0].strategy for s in setting.series if not _spends_all(s)}
    whole = [s for s in setting.series if _spends_all(s) and s.points[0].runs[0].strategy in saving]
    return min(whole, key=lambda s: _rank(s.points[0].runs[0].strategy), default=None)


def _spends_all(series: Series) -> bool:
    return all(spends_all(run) for point in series.points for run in point.runs)


def _rank(strategy: str) -> int:
    return PREFERRED.index(strategy) if strategy in PREFERRED else len(PREFERRED)


def compare_all(setting: Setting, reference: Series) -> list[Compared]:
    """Compare every other series with the reference, wherever both have a point of one budget and limits.

    The reference's point has the same dials, or none.
    """
    at = {(p.budget, p.limits, p.dials): p for p in reference.points}
    pairs = [
        (series, point, at.get((*place, point.dials)) or at.get((*place, ())))
        for series in setting.series
        if series is not reference
        for point in series.points
        for place in [(point.budget, point.limits)]
    ]
    rows = [
        compared
        for series, point, other in pairs
        if other is not None and (compared := _compare(series, point, other)) is not None
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
