"""``verifier.calibration=FILE``: the file's content takes the place of its path, and must fit the run.

config.json then holds the maps themselves: a run resumes as it began, whatever has become of the file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.allocation.calibration import Calibration, Map
from orchestrator.errors import ConfigError
from orchestrator.storage.fitted_files import check_fitted, digest_text, read_fitted
from orchestrator.storage.folders import in_home

log = logging.getLogger(__name__)

_RANGE = ("offset", "limit")  # of a task: which of its problems
KEY, KIND = "verifier.calibration", "calibration"
# What changes the speed of a verifier, or its rewards by rounding alone.
_OTHER = {
    "args", "batch_invariant", "cache_bytes", "calibration", "device", "dtype", "max_batch_size",
    "max_context", "trust_remote_code",
}  # fmt: skip
_BY_DIGEST = {"_target_", "lora", "model", "revision", "tokenizer"}


class _Knots(msgspec.Struct):
    knots: list[float]
    values: list[float]


class _Problems(msgspec.Struct):
    task: str
    offset: int
    num: int


class CalibrationFile(msgspec.Struct):
    """What a run reads of a calibration: ``verifier`` is the mark of the verifier that it was fitted to."""

    verifier: str
    verifier_name: str
    problems: _Problems
    maps: list[_Knots]

    @property
    def calibration(self) -> Calibration:
        """The maps."""
        return Calibration(tuple(Map(tuple(m.knots), tuple(m.values)) for m in self.maps))


def verifier_mark(node: Mapping[str, Any], digest: str | None) -> str:
    """Return a text that is equal for verifiers of equal rewards: the files, and how rewards are read.

    ``node`` is the configuration's node; ``digest`` is that of the model's files, None where it has none.
    """
    skipped = _OTHER | (_BY_DIGEST if digest else set())
    return digest_text([digest, {k: v for k, v in node.items() if k not in skipped and v is not None}])


def task_mark(node: Mapping[str, Any]) -> str:
    """Return a text that is equal for tasks with the same problems, wherever a range begins and ends."""
    return digest_text({k: v for k, v in node.items() if k not in _RANGE and v is not None})


def inlined(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the content of its calibration file; without the key where it is null."""
    node = dict(plain.get("verifier", {}))
    given = node.pop("calibration", None)
    if isinstance(given, str):
        given = read_fitted(Path(in_home(given)), KIND, KEY)
    elif given is not None and not isinstance(given, Mapping):
        raise ConfigError(KEY, given, "must be the path of a file")
    if given is not None:
        node["calibration"] = given
    return {**plain, **({"verifier": node} if "verifier" in plain else {})}


def read_calibration(node: Mapping[str, Any]) -> CalibrationFile | None:
    """Return the calibration of an inlined verifier node; None without one. Raises ConfigError."""
    given = node.get("calibration")
    if given is None:
        return None
    check_fitted(given, KIND, KEY, given.get("digest"))
    try:
        found = msgspec.convert(given, CalibrationFile)
    except msgspec.ValidationError as failure:
        raise ConfigError(KEY, given.get("digest"), f"was not written by Murmuration: {failure}") from None
    if not found.maps or any(len(m.knots) != len(m.values) or len(m.knots) < 2 for m in found.maps):
        raise ConfigError(KEY, given.get("digest"), "was not written by Murmuration: a map without knots")
    return found


def check_calibration(
    found: CalibrationFile, plain: Mapping[str, Any], digest: str | None, num_problems: int
) -> None:
    """Raise ConfigError for a calibration of another verifier; warn where it has seen the run's problems."""
    mark = verifier_mark(plain["verifier"], digest)
    if mark != found.verifier:
        allowed = (
            f"was fitted to another verifier ({found.verifier_name}, {found.verifier}); "
            f"this run's is {mark}: fit one with python -m orchestrator.calibrate"
        )
        raise ConfigError(KEY, plain["verifier"]["calibration"]["digest"], allowed)
    if task_mark(plain["task"]) != found.problems.task:
        log.warning("%s was fitted on another task or split: its probabilities may not hold here", KEY)
        return
    first, last = plain["task"].get("offset") or 0, found.problems.offset + found.problems.num
    if first < last and found.problems.offset < first + num_problems:
        log.warning("%s was fitted on problems of this run: figures of the run flatter it", KEY)
