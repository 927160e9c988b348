"""Where an allocator has sent the samples of a budget across problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from orchestrator.report.runs import SavedRun
from orchestrator.report.settings import Setting, spends_all

SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Granted:
    """Samples a problem of one point: their mean, quantiles and greatest number, over problems and seeds.

    ``few`` is the accuracy of problems with at most the mean, ``many`` of those with more; None without any.
    """

    series: str
    label: str
    mean: float
    quantiles: tuple[int, ...]
    most: int
    few: float | None
    many: float | None


def granted(setting: Setting) -> list[Granted]:
    """Return a row for each point whose problems did not all have the whole budget."""
    return [
        _row(series.name, point.label, point.runs)
        for series in setting.series
        for point in series.points
        if any(run.columns.num_candidates for run in point.runs)
        and not all(spends_all(run) for run in point.runs)
    ]


def _row(series: str, label: str, runs: Sequence[SavedRun]) -> Granted:
    pairs = [
        (num, right)
        for run in runs
        for num, right in zip(run.columns.num_candidates, run.columns.correct, strict=True)
    ]
    numbers = [num for num, _ in pairs]
    mean = fmean(numbers)
    quantiles = tuple(int(q) for q in np.quantile(numbers, SHARES, method="lower"))
    few, many = ([right for num, right in pairs if (num > mean) is more] for more in (False, True))
    return Granted(series, label, mean, quantiles, max(numbers), _share(few), _share(many))


def _share(right: Sequence[bool]) -> float | None:
    return fmean(right) if right else None
