"""Errors of Hydra and OmegaConf in one line each, with the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from orchestrator.config.build import GROUPS
from orchestrator.config.files import CONF
from orchestrator.config.hints import hint, other_choice
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.suggest import nearest

_THERE = re.compile(r"An item is already at '([^']+)'")
_UNKNOWN_KEY = re.compile(r"Could not override '([^']+)'|Key '([^']+)' is not in struct")
_UNKNOWN_CHOICE = re.compile(r"Could not find '([^']+)/([^'/]+)'")


def explain(error: Exception, keys: Iterable[str], overrides: Iterable[str]) -> str:
    """Return one line for an error of composition.

    ``keys`` are the known dotted keys and group names; ``overrides`` the command line, to show the value.
    """
    ours = error.__cause__ if isinstance(error, OmegaConfBaseException) else error
    if isinstance(ours, MurmurationError):
        return _elsewhere(ours) if isinstance(ours, ConfigError) else str(ours)
    text = str(error)
    values = dict(o.lstrip("+~").split("=", 1) for o in overrides if "=" in o)
    if match := _UNKNOWN_CHOICE.search(text):
        group, choice = match.group(1), match.group(2)
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return f"{group}={choice}: must be one of {', '.join(options)}{nearest(choice, options)}"
    if match := _UNKNOWN_KEY.search(text):
        key = _written_key(match.group(1) or match.group(2), values)
        if key in GROUPS:
            return f"{key}: a run needs one; choose it with {key}=NAME"
        return f"{key}={values.get(key, '')}: unknown key{hint(key, list(keys), CONF)}"
    if match := _THERE.search(text):
        key = match.group(1)
        return f"{key}={values.get(key, '')}: is there already: leave out the +"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {first}"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        given = f"={values[error.full_key]}" if error.full_key in values else ""
        return f"{error.full_key}{given}: {first}"
    return first


def _elsewhere(error: ConfigError) -> str:
    """Return the error's line; for a key that another choice of its group has, it names that choice."""
    is_unknown = error.allowed.startswith("unknown key") and "did you mean" not in error.allowed
    place = other_choice(error.key, CONF) if is_unknown else ""
    return str(ConfigError(error.key, error.value, f"unknown key{place}") if place else error)


def _written_key(key: str, values: dict[str, str]) -> str:
    """Return the key as on the command line: OmegaConf may name its last part only."""
    if key in values:
        return key
    return next((written for written in values if written.endswith(f".{key}")), key)
