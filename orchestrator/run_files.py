"""config.json and summary.json of a run directory, as far as the tools that read one rely on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired, Required, TypedDict

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.json_reading import read_own
from orchestrator.renamed import renamed

CONFIG, SUMMARY = "config.json", "summary.json"

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


def read_config(folder: Path, key: str) -> dict[str, Any]:
    """A run's configuration, with classes under their present names.

    Raises ConfigError that names the field where it was not written by Murmuration.
    """
    return checked(read_own(folder / CONFIG, key), folder / CONFIG, key)


def checked(config: dict[str, Any], path: Path, key: str) -> dict[str, Any]:
    """The same for one that was read already."""
    _check(config, _Config, path, key)
    return dict(renamed(config))


def read_summary(folder: Path, key: str) -> dict[str, Any]:
    """A run's figures. Raises ConfigError that names the field where they are none of ours."""
    summary = read_own(folder / SUMMARY, key)
    _check(summary, _Summary, folder / SUMMARY, key)
    return summary


def _check(value: Mapping[str, Any], kind: Any, path: Path, key: str) -> None:
    try:
        msgspec.convert(value, kind)
    except ValueError as failure:  # also half of a character in a name
        reason = str(failure) if isinstance(failure, msgspec.ValidationError) else type(failure).__name__
        allowed = f"its {path.name} was not written by Murmuration: {reason}"
        raise ConfigError(key, path.parent, allowed) from None
