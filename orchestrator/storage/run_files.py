"""The files of a run directory: their names, and the shapes of config.json, summary.json and points.json.

The files may be damaged, or of another program. A tool that needs one refuses a damaged one in one line
(``read_...``); a run or a sweep that does not need it warns and continues (``sound_...``).
``plain_files`` opens files and refuses links, ``json_reading`` reads bounded, strict JSON, ``line_checks``
has the shape of a line of results.jsonl.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypedDict

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.renamed import as_begun
from orchestrator.storage.json_reading import parse_own, read_object, read_own

log = logging.getLogger(__name__)

RESULTS, SUMMARY, CONFIG, COMMAND = "results.jsonl", "summary.json", "config.json", "command.json"
IDENTITY, MLFLOW_IDENTITY, TRACKIO_IDENTITY = "wandb_run.json", "mlflow_run.json", "trackio_run.json"
"""Which run of a tracker a run directory belongs to."""

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
    sequential_tokens: NotRequired[_Count]


class _Overhead(TypedDict):
    retried_tokens: _Count


class _Paths(TypedDict):
    num_paths: _Count
    accuracy: _Share


class _Silent(TypedDict):
    problems: _Count
    candidates: _Count


class Figures(TypedDict):
    """The part of summary.json that a table shows of a finished run, and that a resumed run reads."""

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
    quoted: NotRequired[dict[str, _Share]]


class _Summary(Figures):
    """The part of summary.json that a report needs."""

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
    """Read a run's configuration, with classes under their present names.
    Raises ConfigError that names the field where it was not written by Murmuration.
    """
    return _config_of(read_own(folder / CONFIG, key), folder, key)


def parse_config(data: bytes, folder: Path, key: str) -> dict[str, Any]:
    """Parse a run's configuration from the bytes of its ``config.json``."""
    return _config_of(parse_own(data, folder / CONFIG, key), folder, key)


def _config_of(value: dict[str, Any], folder: Path, key: str) -> dict[str, Any]:
    return dict(as_begun(_checked(value, _Config, folder / CONFIG, key)))


def read_summary(folder: Path, key: str) -> dict[str, Any]:
    """Read a run's summary. Raises ConfigError that names the field where Murmuration did not write it."""
    return _checked(read_own(folder / SUMMARY, key), _Summary, folder / SUMMARY, key)


def sound_summary(path: Path) -> dict[str, Any] | None:
    """Read a summary.json; None where there is none, or, with a warning, where it is damaged or foreign."""
    return _sound(path, Figures)


def sound_points(path: Path) -> list[dict[str, Any]]:
    """Read the entries of a points.json; none where there is no file, or, with a warning, a damaged one."""
    index = _sound(path, _Index)
    return [] if index is None else list(index["points"])


def _checked(value: dict[str, Any], shape: Any, path: Path, key: str) -> dict[str, Any]:
    try:
        msgspec.convert(value, shape)
    except ValueError as failure:  # also half a character in a name
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
        log.warning("%s is damaged, or was not written by Murmuration (%s): it is not used", path, reason)
        return None
    return value
