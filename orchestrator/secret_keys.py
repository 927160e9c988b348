"""Secrets stay out of configurations, because those are saved, logged and sent to W&B.

A key of the command line or of a file whose name says that it is a secret is refused before anything is
written, and its value is not shown. Secrets come from the environment of the processes that need them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ConfigError

_KEY = re.compile(
    r"(?i)(^|[._-])(api_?key|access_?key(_id)?|private_?key|secret(_?key)?|client_secret|password|passwd|"
    r"credentials?|authorization|((hf|hub|api|auth|access|bearer|session|secret)_?)token)$"
)
_INNER_KEY = re.compile(r"[{,]\s*['\"]?([\w.-]+)['\"]?\s*:")  # of a value such as {name: 1, other: 2}
_PASSWORD_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s@]*:[^/\s@]*@", re.IGNORECASE)
# A key where the name of a variable belongs is a likely slip, and keys are hardly ever in capitals alone.
_VARIABLE_KEY = re.compile(r"(^|\.)api_key_env$")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_NOTHING = (None, "", "null")
_HIDDEN = "(not shown)"


def check_no_secrets(arguments: Sequence[str]) -> None:
    """Raise ConfigError for an override ``key=value`` that holds a secret."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        _check(key.lstrip("+~"), value.strip("'\""))
        for name in _INNER_KEY.findall(value):
            _check(f"{key.lstrip('+~')}.{name}", _HIDDEN)


def check_config(node: Any, key: str = "") -> None:
    """Raise ConfigError for a secret anywhere in a resolved configuration, an interpolated one included."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            check_config(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for value in node:
            check_config(value, key)
    else:
        _check(key, node)


def _check(key: str, value: object) -> None:
    if value in _NOTHING:
        return
    if _KEY.search(key):
        allowed = "is a secret, and configurations are saved: set it in the environment (docs/security.md)"
        raise ConfigError(key, _HIDDEN, allowed)
    if isinstance(value, str) and _PASSWORD_IN_URL.search(value):
        raise ConfigError(key, _HIDDEN, "holds a password, and configurations are saved (docs/security.md)")
    if value is not _HIDDEN and _VARIABLE_KEY.search(key) and not _VARIABLE.fullmatch(str(value)):
        raise ConfigError(key, _HIDDEN, "must be the name of an environment variable, in capitals")
