"""Command lines of the tools beside run.py: one directory, then ``key=value`` as in Hydra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.storage.folders import in_home
from orchestrator.suggest import nearest


def without_comment(arguments: Sequence[str]) -> list[str]:
    """Return the arguments before a ``#``: zsh passes a pasted comment on with the rest."""
    return list(arguments[: arguments.index("#")] if "#" in arguments else arguments)


def read_arguments(
    arguments: Sequence[str], defaults: Mapping[str, str], directory: str
) -> tuple[Path, dict[str, str]]:
    """Return the directory and every option. Raises ConfigError for one that is missing, unknown or twice."""
    options, folders = dict(defaults), []
    given: set[str] = set()
    for argument in without_comment(arguments):
        key, equals, value = argument.partition("=")
        # A sweep's folders are named strategy=...,budget=8: what exists is a directory.
        if not equals or Path(argument).is_dir():
            folders.append(argument)
        elif key not in defaults:
            known = ", ".join(defaults)
            raise ConfigError(key, value, f"unknown key{nearest(key, defaults) or f'; known: {known}'}")
        elif key in given:
            raise ConfigError(key, value, "is given twice")
        else:
            given.add(key)
            options[key] = in_home(value) if value.startswith("~") else value
    if len(folders) != 1:
        raise ConfigError(directory, " ".join(folders) or None, "must be one directory")
    return Path(in_home(folders[0])), options
