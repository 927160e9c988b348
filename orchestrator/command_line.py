"""The command line before Hydra reads it: flags, ``resume=DIR``, quoted folders, names of points."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from orchestrator.config import EXPERIMENT, GROUPS
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.folders import in_home
from orchestrator.results import COMMAND
from orchestrator.spelling import quote, spelled

_SWITCHES = {"true", "false"}
_OPEN = re.compile(r"(engine|verifier|verifier\.engine)\.(args|chat_options|extra_body)\.[^=]+=")
_MULTIRUN = ("-m", "--multirun")
# Flags of Hydra that take a value, and those that ask for something else than a run.
_VALUED = ("-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir", "-p", "--package")
_OTHER_COMMANDS = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info", "-sc")
_ASKING = ("-c", "--cfg", "-i", "--info")  # with a word after them
_FLAGS = {*_MULTIRUN, *_VALUED, *_OTHER_COMMANDS, "--resolve", "-r", "--run", "--shell-completion"}
# Whoever chooses one of these wants points composed and run in another way than ours.
_OTHER_SWEEPS = ("hydra/sweeper", "hydra/launcher")


def complain(text: str) -> None:
    """One line for a person, whatever a library wrote."""
    sys.stderr.write(f"error: {' '.join(text.split())}\n")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags with their values, ``-m`` left out, and overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith("-") or before in _VALUED:
            flags += [] if argument in _MULTIRUN else [argument]
        else:
            overrides.append(argument)
    return flags, overrides


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether these ask for a sweep, and one in our way: neither another sweeper nor another launcher."""
    flags, overrides = split_flags(arguments)
    asked = {flag.partition("=")[0] for flag in flags}
    chosen = {_key(o) for o in overrides}
    others = asked.intersection(_OTHER_COMMANDS) or chosen.intersection(_OTHER_SWEEPS)
    return _is_multirun(arguments) and not others


def continued_command(arguments: Sequence[str]) -> list[str]:
    """Arguments with ``resume=DIR`` replaced by DIR's own overrides, ``run_dir=DIR`` and ``resume=true``.

    DIR is that of a run, of a sweep's point or of a sweep. What the command line sets beside ``resume`` wins
    over what DIR's run had set. The folder of a sweep's point holds ``=`` and ``,``, which Hydra would read
    as more than a name: ``run_dir`` is quoted. What was typed is spelled as Hydra needs it; what DIR's run
    has kept is. Raises ConfigError where DIR holds no run, and what ``spelled`` raises.
    """
    chosen = [a for a in arguments if a.startswith("resume=")]
    if not chosen or chosen[-1].partition("=")[2].lower() in _SWITCHES:
        return [quoted(a) for a in _spelled_overrides(arguments, is_sweep=_is_multirun(arguments))]
    run_dir = Path(in_home(chosen[-1].partition("=")[2].strip("'\"")))
    saved_file = run_dir / COMMAND
    if not saved_file.exists():
        allowed = f"must be true, false or the directory of a run ({COMMAND} is not there)"
        raise ConfigError("resume", run_dir, allowed)
    saved = _read_command(saved_file, run_dir)
    is_sweep = saved["sweep"] or _is_multirun(arguments)
    added = [a for a in arguments if not a.startswith(("resume=", "run_dir="))]
    given = _spelled_overrides(added, is_sweep=is_sweep)
    new_keys = {_key(a) for a in given}
    kept = [o for o in saved["overrides"] if _key(o) not in {*new_keys, "resume", "run_dir"}]
    multirun = ["-m"] if saved["sweep"] else []
    return [*multirun, *kept, *given, quoted(f"run_dir={run_dir}"), "resume=true"]


def _is_multirun(arguments: Sequence[str]) -> bool:
    return bool(set(arguments).intersection(_MULTIRUN))


def _spelled_overrides(arguments: Sequence[str], *, is_sweep: bool) -> list[str]:
    """The arguments in their order, overrides spelled for Hydra and flags as they are."""
    return [
        argument
        if argument.startswith("-") or before in (*_VALUED, *_ASKING)
        else spelled(argument, is_sweep=is_sweep)
        for before, argument in zip(["", *arguments], arguments, strict=False)
    ]


def check_flags(arguments: Sequence[str]) -> None:
    """Raise MurmurationError for a flag that there is not: Hydra would print its own usage."""
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name.startswith("-") and name not in _FLAGS and not name.startswith("-c"):
            key = name.lstrip("-").replace("-", "_")
            hint = (
                f"keys have no dashes: {key}={value or '...'}" if len(key) > 1 else "see python run.py --help"
            )
            raise MurmurationError(f"{argument}: unknown flag; {hint}")


def _read_command(file: Path, run_dir: Path) -> dict[str, Any]:
    """What ``command.json`` holds. Raises ConfigError where that cannot be read."""
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        return {"overrides": [str(o) for o in saved["overrides"]], "sweep": bool(saved.get("sweep"))}
    except OSError as failure:
        raise ConfigError("resume", run_dir, f"its {COMMAND} cannot be read: {failure.strerror}") from None
    except (ValueError, LookupError, TypeError, AttributeError) as failure:
        raise ConfigError("resume", run_dir, f"its {COMMAND} is none of ours: {failure}") from None


def with_open_keys(arguments: Sequence[str]) -> list[str]:
    """Overrides below a node whose keys a library names (``engine.args``), with the ``++`` that they need."""
    return [f"++{a}" if _OPEN.match(a) else a for a in arguments]


def check_choices(arguments: Sequence[str]) -> None:
    """Raise ConfigError for a group that is given nothing: Hydra would end in a ValueError."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        if (key in GROUPS and value in ("", "null")) or (key == EXPERIMENT and value == ""):
            raise ConfigError(key, value, f"must be the name of a file of conf/{key}")


def quoted(argument: str) -> str:
    """``run_dir='...'``, unless it is quoted or interpolated already."""
    key, _, value = argument.partition("=")
    if key != "run_dir" or not value or value[0] in "'\"" or "${" in value:
        return argument
    return f"run_dir={quote(value)}"


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


# What does not make a point of a sweep another point, unless the sweep runs over it.
_NOT_IN_NAMES = (
    "run_dir", "resume", "keep_journal", "dry_run", "log_level", "tracker", "concurrency", "cluster",
)  # fmt: skip


def folder_names(arguments: Sequence[str]) -> list[str]:
    """For a sweep, the arguments with Hydra told which keys to leave out of its points' folder names.

    A sweep goes on in the same folders with other replicas or another tracker; one over such a key has a
    folder for each of its values.
    """
    if not _is_multirun(arguments):
        return list(arguments)
    overrides = [a for a in arguments if "=" in a and not a.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    excluded = [
        o.key_or_group
        for o in parsed
        if o.key_or_group.split(".")[0] in _NOT_IN_NAMES and not o.is_sweep_override()
    ]
    return [*arguments, f"hydra.job.config.override_dirname.exclude_keys=[{','.join(excluded)}]"]
