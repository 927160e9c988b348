"""Secrets stay out of configurations, because those are saved, logged and sent to W&B.

A key of the command line or of a file that has the name of a secret is refused before anything is written,
and its value is not shown. Secrets come from the environment of the processes that need them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from orchestrator.dotted import entries
from orchestrator.errors import ConfigError

_KEY = re.compile(
    r"(?i)(^|[._-])(api_?key|access_?key(_id)?|private_?key|secret(_?key)?|client_secret|password|passwd|"
    r"credentials?|authorization|((hf|hub|api|auth|access|bearer|session|secret)_?)token)$"
)
# Names of secrets or of something else, too common to be refused.
_DOUBTFUL = re.compile(r"(?i)(^|[._-])(key|token)$")
_INNER_KEY = re.compile(r"[{,]\s*['\"]?([\w.-]+)['\"]?\s*:")  # of a value such as {name: 1, other: 2}
_URL = re.compile(r"(?:\b(https?|wss?))?://([^\s'\"<>]*)", re.IGNORECASE)
# Names of a URL's parameters, without what joins their words.
_PARAMETER = re.compile(
    r".*(apikey|accesskey(id)?|secretkey|privatekey|authkey|accountkey|subscriptionkey|token|secret|password|"
    r"passwd|passphrase|pwd|signature|credentials?|authorization|bearer|jwt)|key|sig|apikeyid|sas"
)
_PARAMETER_IF_LONG = re.compile(r"code|auth|pass|ak|sk|hmac|session(id)?|pw")
_SHORTEST_KEY = 16
# A key in place of a variable's name is a likely mistake; keys are rarely in capitals alone.
_VARIABLE_KEY = re.compile(r"(^|\.)api_keys?_env$")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_NOTHING = (None, "", "null")
_HIDDEN = "(not shown)"


def may_name_secret(key: str) -> bool:
    """Return whether a dotted key names a secret, or may: its value is not uploaded."""
    return bool(_KEY.search(key) or _DOUBTFUL.search(key))


def check_no_secrets(arguments: Sequence[str]) -> None:
    """Raise ConfigError for an override ``key=value`` that holds a secret."""
    for argument in arguments:
        key, _, value = argument.partition("=")
        _check(key.lstrip("+~"), value.strip("'\""))
        for name in _INNER_KEY.findall(value):
            _check(f"{key.lstrip('+~')}.{name}", _HIDDEN)


def check_config(config: Mapping[str, Any]) -> None:
    """Raise ConfigError for a secret anywhere in a resolved configuration, an interpolated one included."""
    for key, value in entries(config, of_lists=True):
        if not isinstance(value, Mapping | list | tuple):
            _check(key, value)


def _check(key: str, value: object) -> None:
    if value in _NOTHING:
        return
    if _KEY.search(key):
        allowed = "is a secret, and configurations are saved: set it in the environment (docs/security.md)"
        raise ConfigError(key, _HIDDEN, allowed)
    found = secret_in_url(value) if isinstance(value, str) else None
    if found is not None:
        raise ConfigError(key, _HIDDEN, f"holds {found}, and configurations are saved (docs/security.md)")
    if value is not _HIDDEN and _VARIABLE_KEY.search(key) and not _VARIABLE.fullmatch(str(value)):
        raise ConfigError(key, _HIDDEN, "must be the name of an environment variable, in capitals")


def secret_in_url(text: str) -> str | None:
    """Return which secret a URL in ``text`` holds: ``a password`` or ``a key``; None: no secret.

    A user without a password counts in URLs of the web alone, where a key may be in its place.
    """
    for scheme, rest in _URL.findall(text):
        user = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[0]
        if ":" in unquote(user):
            return "a password"
        if user and scheme:
            return "a key"
        if any(_is_secret(*pair.partition("=")[::2]) for pair in re.split(r"[?#&;]", rest)[1:]):
            return "a key"
    return None


def _is_secret(name: str, value: str) -> bool:
    """Return whether a parameter of a URL is a secret, by its name."""
    name = re.sub(r"[^a-z0-9]", "", unquote(name).lower())
    if _PARAMETER.fullmatch(name):
        return bool(value)
    return bool(_PARAMETER_IF_LONG.fullmatch(name)) and len(value) >= _SHORTEST_KEY
