"""How many drafts of steps were accepted, and which share of the answers the base has written.

SpecReason (arXiv 2504.07891): a draft pays where its acceptance is above its cost over the base's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.config.files import TARGET
from orchestrator.report.settings import Setting
from orchestrator.storage.results import stream_results
from orchestrator.storage.revised import Share, share_of

_DRAFTS = "strategies.Speculative"


@dataclass(frozen=True, slots=True)
class Drafted:
    """What drafts have come to in one point of the report, over its seeds.

    ``accepted`` is a share of the drafts, None without any; ``base`` a share of the candidates' tokens;
    ``right`` a share of the problems. ``refused`` tokens are of one problem.
    """

    series: str
    label: str
    accepted: Share | None
    base: Share
    right: Share
    refused: float


def drafted_points(setting: Setting) -> list[Drafted]:
    """Return a row for each point whose strategy has drafts."""
    return [
        found
        for series in setting.series
        for point in series.points
        if point.runs[0].config["strategy"].get(TARGET) == _DRAFTS
        and (
            found := drafted(
                series.name, point.label, (line for run in point.runs for line in stream_results(run.folder))
            )
        )
    ]


def drafted(series: str, label: str, lines: Iterable[Mapping[str, Any]]) -> Drafted | None:
    """Return the row of these result lines; None where no token was kept."""
    problems = [_counts(line) for line in lines]
    if not problems:
        return None
    num_right, num_drafts, num_accepted, tokens, kept, refused = zip(*problems, strict=True)
    base = share_of([t - k for t, k in zip(tokens, kept, strict=True)], tokens)
    right, accepted = share_of(num_right, [1] * len(problems)), share_of(num_accepted, num_drafts)
    if base is None or right is None:
        return None
    return Drafted(series, label, accepted, base, right, sum(refused) / len(problems))


def _counts(line: Mapping[str, Any]) -> tuple[int, int, int, int, int, int]:
    """Return 1 for a right answer, the drafts, those accepted; tokens of candidates, drafts kept, refused."""
    drafts = [entry for entry in line["history"] if "accepted" in entry]
    accepted = [entry for entry in drafts if entry["accepted"]]
    tokens, kept = sum(c["num_tokens"] for c in line["candidates"]), sum(e["tokens"] for e in accepted)
    refused = sum(e["tokens"] for e in drafts) - kept
    return int(bool(line["correct"])), len(drafts), len(accepted), tokens, kept, refused
