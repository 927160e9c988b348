"""The command line before Hydra reads it: ``resume=DIR``, quoted folders, the names of a sweep's points."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from orchestrator.config import GROUPS
from orchestrator.errors import ConfigError
from orchestrator.results import COMMAND

_FLAGS = {"true", "false"}


def continued_command(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``resume=DIR`` replaced by DIR's own overrides, ``run_dir=DIR`` and ``resume=true``.

    What the command line sets beside ``resume`` wins over what DIR's run had set. The folder of a sweep's
    point holds ``=`` and ``,``, which Hydra would read as more than a name: ``run_dir`` is quoted. Raises
    ConfigError where DIR holds no run.
    """
    chosen = [a for a in arguments if a.startswith("resume=")]
    if not chosen or chosen[-1].partition("=")[2].lower() in _FLAGS:
        return [_quoted(a) for a in arguments]
    run_dir = Path(chosen[-1].partition("=")[2].strip("'\""))
    saved_file = run_dir / COMMAND
    if not saved_file.exists():
        allowed = f"must be true, false or the directory of a run ({COMMAND} is not there)"
        raise ConfigError("resume", run_dir, allowed)
    given = [a for a in arguments if not a.startswith(("resume=", "run_dir="))]
    new_keys = {_key(a) for a in given}
    saved = json.loads(saved_file.read_text(encoding="utf-8"))["overrides"]
    kept = [o for o in saved if _key(o) not in {*new_keys, "resume", "run_dir"}]
    return [*kept, *given, _quoted(f"run_dir={run_dir}"), "resume=true"]


def check_choices(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a group that is given nothing: Hydra would end in a ValueError."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in GROUPS and value in ("", "null"):
            raise ConfigError(key, value, f"must be the name of a file of conf/{key}")


def _quoted(argument: str) -> str:
    """``run_dir='...'``, unless it is quoted or interpolated already."""
    key, _, value = argument.partition("=")
    if key != "run_dir" or not value or value[0] in "'\"" or "${" in value:
        return argument
    # Hydra reads a backslash as one unless a quote follows it, after more backslashes or none.
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), value)
    return f"run_dir='{escaped}'"


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


# What does not make a point of a sweep another point, unless the sweep runs over it.
_NOT_IN_NAMES = ("run_dir", "resume", "dry_run", "tracker", "concurrency", "cluster")


def folder_names(arguments: Sequence[str]) -> list[str]:
    """For a sweep, the arguments with Hydra told which keys to leave out of its points' folder names.

    A sweep goes on in the same folders with other replicas or another tracker; one over such a key has a
    folder for each of its values.
    """
    if not {"-m", "--multirun"} & set(arguments):
        return list(arguments)
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    excluded = [
        o.key_or_group
        for o in parsed
        if o.key_or_group.split(".")[0] in _NOT_IN_NAMES and not o.is_sweep_override()
    ]
    return [*arguments, f"hydra.job.config.override_dirname.exclude_keys=[{','.join(excluded)}]"]
