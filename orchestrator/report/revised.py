"""Accuracy by iteration, and how often a revision mends a wrong attempt and breaks a right one.

    f = P(right | the attempt that it follows is wrong),   b = P(wrong | the attempt that it follows is right)

"Scaling LLM Test-Time Compute Optimally" (arXiv 2408.03314) reports b = .38 for its reviser. The attempt that
a revision follows is the last that its prompt shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.config.files import TARGET
from orchestrator.report.settings import Setting
from orchestrator.storage.result_lines import in_recorded_order
from orchestrator.storage.results import stream_results

_NUM_RESAMPLES = 2000
_REVISES = "strategies.Refine"


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % interval, bootstrapped over problems, and the number that it is of."""

    value: float
    low: float
    high: float
    num_attempts: int


@dataclass(frozen=True, slots=True)
class Revised:
    """``accuracies`` of the attempts of iteration 1, 2, ...; ``mends`` is f, ``breaks`` is b."""

    accuracies: tuple[Share, ...]
    mends: Share | None
    breaks: Share | None


@dataclass(frozen=True, slots=True)
class RevisedPoint:
    """What revising has done in one point of the report, over its seeds."""

    series: str
    label: str
    found: Revised


def revised_points(setting: Setting) -> list[RevisedPoint]:
    """Return a row for each point whose strategy revises attempts."""
    return [
        RevisedPoint(series.name, point.label, found)
        for series in setting.series
        for point in series.points
        if point.runs[0].config["strategy"].get(TARGET) == _REVISES
        and (found := revised(line for run in point.runs for line in stream_results(run.folder))) is not None
    ]


def revised(lines: Iterable[Mapping[str, Any]]) -> Revised | None:
    """Return what revising has done in these result lines; None where no attempt follows another."""
    problems = [_attempts(line) for line in lines]
    last = max((iteration for attempts in problems for iteration, _, _ in attempts), default=0)
    if last < 2:
        return None
    by_iteration = (
        _share([[right for i, right, _ in attempts if i == number] for attempts in problems])
        for number in range(1, last + 1)
    )
    pairs = [
        [(right, before) for _, right, before in attempts if before is not None] for attempts in problems
    ]
    return Revised(
        accuracies=tuple(share for share in by_iteration if share is not None),
        mends=_share([[right for right, before in own if not before] for own in pairs]),
        breaks=_share([[not right for right, before in own if before] for own in pairs]),
    )


def _attempts(line: Mapping[str, Any]) -> list[tuple[int, bool, bool | None]]:
    """Return the iteration of each attempt, whether it is right, and whether the one that it follows was."""
    candidates = in_recorded_order(line)
    right = [bool(candidate["correct"]) for candidate in candidates]
    return [
        (entry["iteration"], right[entry["candidate"]], right[entry["read"][-1]] if entry["read"] else None)
        for entry in line["history"]
        if "candidate" in entry
    ]


def _share(outcomes: Sequence[Sequence[bool]]) -> Share | None:
    """Return the share of true outcomes ``[problems][attempts]``."""
    return share_of([sum(own) for own in outcomes], [len(own) for own in outcomes])


def share_of(parts: Sequence[int], wholes: Sequence[int]) -> Share | None:
    """Return what parts are of wholes, both ``[problems]``; the problem is the unit of its interval.

    None where the wholes are nothing.
    """
    true, total = np.array(parts), np.array(wholes)
    if not total.sum():
        return None
    rows = np.random.default_rng(0).integers(len(total), size=(_NUM_RESAMPLES, len(total)))
    shares = true[rows].sum(axis=1) / np.maximum(total[rows].sum(axis=1), 1)
    low, high = np.quantile(shares[total[rows].sum(axis=1) > 0], [0.025, 0.975])
    return Share(float(true.sum() / total.sum()), float(low), float(high), int(total.sum()))
