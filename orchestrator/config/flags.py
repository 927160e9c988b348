"""Hydra's flags on a command line: ``--config-dir DIR`` and the like, separated from overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.errors import MurmurationError
from orchestrator.terminal import program

MULTIRUN = ("-m", "--multirun")
# Those that name configurations, by their long names: a resumed run needs them.
_NAMES = {
    "-cp": "--config-path",
    "-cn": "--config-name",
    "-cd": "--config-dir",
    **{name: name for name in ("--config-path", "--config-name", "--config-dir")},
}
_SHOWN = ("job", "hydra", "all")
_ABOUT = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# They take one of these values.
_CHOICES = {"-c": _SHOWN, "--cfg": _SHOWN, "-i": _ABOUT, "--info": _ABOUT}
# They take a value; for some it is optional.
_ASKING = (*_CHOICES, "-p", "--package", "--experimental-rerun")
_DIR = "--config-dir"
FLAGS = {
    *MULTIRUN,
    *_NAMES,
    *("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info", "-sc", "-p", "--package"),
    *("--resolve", "-r", "--run", "--shell-completion"),
}
"""Hydra's flags that are allowed; its ``--experimental-rerun`` unpickles a file."""


def check_flags(arguments: Sequence[str]) -> None:
    """Raise MurmurationError for a flag that is unknown or has a wrong value: Hydra would print its usage."""
    for argument, after in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = argument.partition("=")
        if not name.startswith("-"):
            continue
        if name not in FLAGS and not name.startswith("-c"):
            key = name.lstrip("-").replace("-", "_")
            hint = (
                f"keys have no dashes: {key}={value or '...'}" if len(key) > 1 else f"see {program()} --help"
            )
            raise MurmurationError(f"{argument}: unknown flag; {hint}")
        if equals and name not in (*_NAMES, *_ASKING):
            raise MurmurationError(f"{argument}: {name} takes no value")
        choice = value if equals else after if takes(name, after) else ""
        if name in _CHOICES and choice and not choice.startswith("-") and choice not in _CHOICES[name]:
            raise MurmurationError(f"{name}={choice}: must be one of {', '.join(_CHOICES[name])}")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags with their values, without ``-m``, and the overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if argument.startswith("-") or takes(before, argument):
            flags += [] if argument in MULTIRUN else [argument]
        else:
            overrides.append(argument)
    return flags, overrides


def takes(flag: str, argument: str) -> bool:
    """Return whether an argument is the value of the flag before it: a path may look like an override."""
    is_override = "=" in argument or argument.startswith("~")
    return flag in _NAMES or (flag in _ASKING and not is_override)


def flags_first(arguments: Sequence[str]) -> list[str]:
    """Return the command line, flags first: Hydra's parser takes no overrides on both sides of a flag."""
    multirun = [a for a in arguments if a in MULTIRUN]
    flags, overrides = split_flags(arguments)
    return [*multirun[:1], *flags, *overrides]


def kept_flags(arguments: Sequence[str]) -> list[str]:
    """Return the flags that a resumed run needs, as ``--name=value``, with absolute folders."""
    return [f"{name}={_from_anywhere(name, value)}" for name, value in _named(arguments)]


def continued_flags(saved: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the flags of a run's own command line that this one does not set again."""
    names = {name for name, _ in _named(given)}
    return [f"{name}={value}" for name, value in _named(saved) if name not in names]


def config_dirs(arguments: Sequence[str]) -> list[Path]:
    """Return the folders of configurations that a command line names."""
    return [Path(value) for name, value in _named(arguments) if name != "--config-name"]


def _named(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield long name and value of each flag that names configurations."""
    flags, _ = split_flags(arguments)
    for flag, after in zip(flags, [*flags[1:], ""], strict=False):
        name, equals, value = flag.partition("=")
        if name in _NAMES:
            yield _NAMES[name], value if equals else after


def _from_anywhere(name: str, value: str) -> str:
    """Return an absolute folder. A --config-path is relative to the source and stays; so does pkg://."""
    return os.path.abspath(value) if name == _DIR and "://" not in value else value
