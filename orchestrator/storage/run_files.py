"""config.json, summary.json and points.json: their shapes, as far as what reads them relies on it.

Whoever wrote them, and whatever became of them since. A tool that needs a file refuses a damaged one in one
line (``read_...``); a run or a sweep that can do without warns of it and goes on (``sound_...``).
Of the files below: ``plain_files`` opens what is no link, ``json_reading`` reads bounded, strict JSON.
``line_checks`` has the shape of a line of results.jsonl.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypedDict

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.renamed import renamed
from orchestrator.storage.json_reading import parse_own, read_object, read_own

log = logging.getLogger(__name__)

RESULTS, SUMMARY, CONFIG, COMMAND = "results.jsonl", "summary.json", "config.json", "command.json"
IDENTITY = "wandb_run.json"
"""Which W&B run a run directory belongs to."""

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e30)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Size = Annotated[int, msgspec.Meta(ge=1, le=2**53)]
_Seed = Annotated[int, msgspec.Meta(ge=0)]


class _Config(TypedDict):
    task: dict[str, Any]
    engine: dict[str, Any]
    verifier: dict[str, Any]
    strategy: dict[str, Any]
    limits: dict[str, _Amount | None]
    budget: _Size
    seed: _Seed


class _Usage(TypedDict):
    generated_tokens: _Count
    reward_calls: _Count
    cached_tokens: _Count
    prompt_tokens: _Count


class _Overhead(TypedDict):
    retried_tokens: _Count


class _Paths(TypedDict):
    num_paths: _Count
    accuracy: _Share


class _Silent(TypedDict):
    problems: _Count
    candidates: _Count


class Figures(TypedDict):
    """What is shown of a run that is finished, and what one that goes on takes from its summary.

    Who has made it is not needed for that.
    """

    strategy: NotRequired[str]
    task: NotRequired[str]
    budget: NotRequired[_Size]
    seed: NotRequired[_Seed]
    complete: bool
    num_problems: _Count
    num_errors: _Count
    accuracy: _Share | None
    accuracy_ci95: tuple[_Share, _Share]
    pass_at_budget: _Share | None
    usage: _Usage
    overhead: _Overhead
    wall_seconds: NotRequired[_Amount | None]
    schedules: NotRequired[dict[str, _Paths]]
    num_candidates: NotRequired[_Count]
    unanswered: NotRequired[_Silent | None]
    cut_off: NotRequired[_Silent | None]
    advice: NotRequired[dict[str, str]]


class _Summary(Figures):
    """What a report needs."""

    strategy: Required[str]  # type: ignore[misc]
    task: Required[str]  # type: ignore[misc]
    engine: str
    verifier: str
    budget: Required[_Size]  # type: ignore[misc]
    seed: Required[_Seed]  # type: ignore[misc]
    wall_seconds: Required[_Amount | None]  # type: ignore[misc]


class _Entry(TypedDict):
    """A point in a sweep's points.json."""

    folder: str | None
    overrides: list[str]
    status: int | None
    mistake: str | None


class _Index(TypedDict):
    points: list[_Entry]


def read_config(folder: Path, key: str) -> dict[str, Any]:
    """A run's configuration, with classes under their present names.

    Raises ConfigError that names the field where it was not written by Murmuration.
    """
    return _config_of(read_own(folder / CONFIG, key), folder, key)


def parse_config(data: bytes, folder: Path, key: str) -> dict[str, Any]:
    """The same from the bytes of a folder's ``config.json``, where they were read already."""
    return _config_of(parse_own(data, folder / CONFIG, key), folder, key)


def _config_of(value: dict[str, Any], folder: Path, key: str) -> dict[str, Any]:
    return dict(renamed(_checked(value, _Config, folder / CONFIG, key)))


def read_summary(folder: Path, key: str) -> dict[str, Any]:
    """A run's figures. Raises ConfigError that names the field where Murmuration did not write them."""
    return _checked(read_own(folder / SUMMARY, key), _Summary, folder / SUMMARY, key)


def sound_summary(path: Path) -> dict[str, Any] | None:
    """A summary.json; None where there is none, or, with a warning, where it is damaged or none of ours."""
    return _sound(path, Figures)


def sound_points(path: Path) -> list[dict[str, Any]]:
    """The entries of a points.json; none where there is none, or, with a warning, where it is damaged."""
    index = _sound(path, _Index)
    return [] if index is None else list(index["points"])


def _checked(value: dict[str, Any], shape: Any, path: Path, key: str) -> dict[str, Any]:
    try:
        msgspec.convert(value, shape)
    except ValueError as failure:  # also half of a character in a name
        reason = str(failure) if isinstance(failure, msgspec.ValidationError) else type(failure).__name__
        allowed = f"its {path.name} was not written by Murmuration: {reason}"
        raise ConfigError(key, path.parent, allowed) from None
    return value


def _sound(path: Path, shape: Any) -> dict[str, Any] | None:
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
