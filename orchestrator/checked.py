"""What is read back from a run directory: checked, whoever wrote it and whatever became of it since."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import msgspec

from orchestrator.json_reading import read_object

log = logging.getLogger(__name__)

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e300)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Spent(msgspec.Struct):
    generated_tokens: Count
    prompt_tokens: Count
    cached_tokens: Count
    reward_calls: Count


class _Retried(msgspec.Struct):
    retried_tokens: Count


class _Paths(msgspec.Struct):
    num_paths: Count
    accuracy: Share


class _Silent(msgspec.Struct):
    problems: Count
    candidates: Count


class _Summary(msgspec.Struct):
    """What is shown of a summary.json, and what a run that goes on takes from it."""

    complete: bool
    num_problems: Count
    num_errors: Count
    accuracy: Share | None
    accuracy_ci95: tuple[Share, Share]
    pass_at_budget: Share | None
    usage: _Spent
    overhead: _Retried
    wall_seconds: Amount | None = None
    schedules: dict[str, _Paths] = {}
    num_candidates: Count = 0
    unanswered: _Silent | None = None
    cut_off: _Silent | None = None
    advice: dict[str, str] = {}


class _Entry(msgspec.Struct):
    """A point in a sweep's points.json."""

    folder: str | None
    overrides: list[str]
    status: int | None
    mistake: str | None


class _Index(msgspec.Struct):
    points: list[_Entry]


def read_summary(path: Path) -> dict[str, Any] | None:
    """A summary.json; None where there is none, or, with a warning, where it is damaged or none of ours."""
    return _read_object(path, _Summary)


def read_points(path: Path) -> list[dict[str, Any]]:
    """The entries of a points.json; none where there is none, or, with a warning, where it is damaged."""
    index = _read_object(path, _Index)
    return [] if index is None else list(index["points"])


def _read_object(path: Path, shape: type[msgspec.Struct]) -> dict[str, Any] | None:
    try:
        value = read_object(path)
        msgspec.convert(value, shape)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else failure
        log.warning("%s is damaged, or none of ours (%s): it is not used", path, reason)
        return None
    return value
