"""What is read back from a run directory: checked, whoever wrote it and whatever became of it since."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec

from orchestrator.types import Overhead, Usage

log = logging.getLogger(__name__)

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e300)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class _Error(msgspec.Struct):
    type: str
    message: str


class _Candidate(msgspec.Struct):
    correct: bool
    block_length: Count | None = None


class _Line(msgspec.Struct):
    """What a run that goes on takes from a line of results.jsonl."""

    problem_id: str
    correct: bool
    error: _Error | None
    candidates: list[_Candidate]
    usage: dict[str, Amount]
    overhead: dict[str, Amount]
    seconds: Amount
    history: list[dict[str, Any]]


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


class _Entry(msgspec.Struct):
    """A point in a sweep's points.json."""

    folder: str | None
    overrides: list[str]
    status: int | None
    mistake: str | None


class _Index(msgspec.Struct):
    points: list[_Entry]


def parse(text: bytes) -> Any:
    """Strict JSON. Raises ValueError, also for NaN and for what is nested too deep."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def check_line(value: Any) -> None:
    """Raises ValueError where a value is no line of results.jsonl."""
    line = _converted(value, _Line)
    try:
        Usage(**line.usage), Overhead(**line.overhead)
    except TypeError as failure:
        raise ValueError(str(failure)) from None


def read_summary(path: Path) -> dict[str, Any] | None:
    """A summary.json; None where there is none, or, with a warning, where it is damaged or none of ours."""
    return _read_object(path, _Summary)


def read_points(path: Path) -> list[dict[str, Any]]:
    """The entries of a points.json; none where there is none, or, with a warning, where it is damaged."""
    index = _read_object(path, _Index)
    return [] if index is None else list(index["points"])


def _read_object(path: Path, shape: type[msgspec.Struct]) -> dict[str, Any] | None:
    try:
        value = parse(path.read_bytes())
        _converted(value, shape)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else failure
        log.warning("%s is damaged, or none of ours (%s): it is not used", path, reason)
        return None
    return dict(value)


def _converted(value: Any, shape: type[Any]) -> Any:
    """Raises ValueError where a value has another shape."""
    if not isinstance(value, dict):  # a Struct would be made of a list as well
        raise ValueError(f"expected an object, got {type(value).__name__}")
    return msgspec.convert(value, shape)
