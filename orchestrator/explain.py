"""Hydra's and OmegaConf's mistakes in one line each, with the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from orchestrator.errors import MurmurationError, nearest

_UNKNOWN_KEY = re.compile(r"Could not override '([^']+)'|Key '([^']+)' is not in struct")
_UNKNOWN_CHOICE = re.compile(r"Could not find '([^']+)/([^'/]+)'")


def explain(error: Exception, keys: Iterable[str], overrides: Iterable[str]) -> str:
    """One line for an error of composition.

    ``keys`` are the known dotted keys and group names; ``overrides`` the command line, to show the value.
    """
    if isinstance(error, MurmurationError):
        return str(error)
    text = str(error)
    values = dict(o.lstrip("+~").split("=", 1) for o in overrides if "=" in o)
    if match := _UNKNOWN_CHOICE.search(text):
        group, choice = match.group(1), match.group(2)
        options = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
        return f"{group}={choice}: must be one of {', '.join(options)}{nearest(choice, options)}"
    if match := _UNKNOWN_KEY.search(text):
        key = _written_key(match.group(1) or match.group(2), values)
        hint = _hint(key, [k for k in keys if k != key])  # another choice of its group may have it
        return f"{key}={values.get(key, '')}: unknown key{hint}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    first = lines[0] if lines else type(error).__name__
    if isinstance(error, OverrideParseException):
        return f"{error.override}: {first}"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        given = f"={values[error.full_key]}" if error.full_key in values else ""
        return f"{error.full_key}{given}: {first}"
    return first


def _hint(key: str, keys: Sequence[str]) -> str:
    """The nearest key: rather one beside it that begins as it does."""
    longer = [k for k in keys if k.startswith(key) and "." not in k[len(key) :]]
    return nearest(key, longer) or nearest(key, keys) or "; python run.py --cfg job shows them all"


def _written_key(key: str, values: dict[str, str]) -> str:
    """The key as it stands on the command line: OmegaConf may name its last part alone."""
    if key in values:
        return key
    return next((written for written in values if written.endswith(f".{key}")), key)
