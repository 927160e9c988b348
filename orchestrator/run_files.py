"""config.json and summary.json of a run directory, as far as the tools that read one rely on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from orchestrator.errors import ConfigError
from orchestrator.json_reading import read_own
from orchestrator.results import CONFIG, SUMMARY

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


class _Summary(TypedDict):
    strategy: str
    task: str
    engine: str
    verifier: str
    budget: _Size
    seed: _Seed
    complete: bool
    num_problems: _Count
    num_errors: _Count
    accuracy: _Share | None
    accuracy_ci95: tuple[_Share, _Share]
    pass_at_budget: _Share | None
    usage: dict[str, _Amount]
    overhead: dict[str, _Count]
    wall_seconds: _Amount | None


def read_config(folder: Path, key: str) -> dict[str, Any]:
    """A run's configuration. Raises ConfigError that names the field where it is none of ours."""
    return checked(read_own(folder / CONFIG, key), folder / CONFIG, key)


def checked(config: dict[str, Any], path: Path, key: str) -> dict[str, Any]:
    """The same for one that was read already."""
    _check(config, _Config, path, key)
    return config


def read_summary(folder: Path, key: str) -> dict[str, Any]:
    """A run's figures. Raises ConfigError that names the field where they are none of ours."""
    summary = read_own(folder / SUMMARY, key)
    _check(summary, _Summary, folder / SUMMARY, key)
    missing = {"generated_tokens", "reward_calls"} - summary["usage"].keys()
    if missing:
        raise ConfigError(
            key, folder, f"its {SUMMARY} was not written by Murmuration: no usage.{min(missing)}"
        )
    return summary


def _check(value: Mapping[str, Any], kind: Any, path: Path, key: str) -> None:
    try:
        msgspec.convert(value, kind)
    except ValueError as failure:  # also half of a character in a name
        reason = str(failure) if isinstance(failure, msgspec.ValidationError) else type(failure).__name__
        allowed = f"its {path.name} was not written by Murmuration: {reason}"
        raise ConfigError(key, path.parent, allowed) from None
