"""What revising has done, as the report shows it: a row for each point whose strategy revises attempts."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.config.files import TARGET
from orchestrator.report.settings import Setting
from orchestrator.storage.results import stream_results
from orchestrator.storage.revised import Revised, revised

_REVISES = "strategies.Refine"


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
