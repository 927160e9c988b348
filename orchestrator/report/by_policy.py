"""What each policy of a run has generated and read: the base's share of a search with a draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.runs import SavedRun
from orchestrator.report.settings import Setting
from orchestrator.storage.result_lines import by_policy_of
from orchestrator.types import Usage


@dataclass(frozen=True, slots=True)
class PolicyShare:
    """What one policy took of a point: means over problems and seeds, and its share of generated tokens."""

    series: str
    label: str
    policy: str
    generated: float
    read: float
    cached: float
    share: float


def policy_shares(setting: Setting) -> list[PolicyShare]:
    """Return a row for each policy of each point that has several."""
    return [
        row
        for series in setting.series
        for point in series.points
        for row in _rows(series.name, point.label, point.runs)
    ]


def _rows(series: str, label: str, runs: Sequence[SavedRun]) -> list[PolicyShare]:
    spent: dict[str, Usage] = {}
    for run in runs:
        for name, usage in by_policy_of(run.summary).items():
            spent[name] = spent.get(name, Usage()) + usage
    num = max(1, sum(len(run.columns) for run in runs))
    total = max(1, sum(usage.generated_tokens for usage in spent.values()))
    return [
        PolicyShare(
            series,
            label,
            name,
            usage.generated_tokens / num,
            usage.prompt_tokens / num,
            usage.cached_tokens / num,
            usage.generated_tokens / total,
        )
        for name, usage in spent.items()
    ]
