"""What is read back from a run directory: checked, whoever wrote it and whatever became of it since."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.json_reading import read_object
from orchestrator.run_files import Figures

log = logging.getLogger(__name__)


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
    return _read_object(path, Figures)


def read_points(path: Path) -> list[dict[str, Any]]:
    """The entries of a points.json; none where there is none, or, with a warning, where it is damaged."""
    index = _read_object(path, _Index)
    return [] if index is None else list(index["points"])


def _read_object(path: Path, shape: Any) -> dict[str, Any] | None:
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
