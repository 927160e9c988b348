"""The names of policies: those that they may have, and those that a strategy names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from orchestrator.errors import ConfigError
from orchestrator.search.strategy import Asking, Whole, parts_of, strategies_in
from orchestrator.suggest import nearest
from orchestrator.types import ENGINE

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = (ENGINE, "verifier")  # the other kinds of replicas


def check_name(name: object) -> None:
    """Raise ConfigError for a name that no further policy can have."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        allowed = f"must be a name in small letters, digits and _, other than {' and '.join(_TAKEN)}"
        raise ConfigError("policies", name, allowed)


def check_policies(part: object, known: Collection[str], key: str = "strategy") -> None:
    """Raise ConfigError where a strategy, or another part, names a policy that the run does not have.

    Found are its knobs ``policy`` and ``policies``, at any depth, and what it declares itself (``Asking``).
    """
    for knob, name in named_policies(part, key):
        if name not in known:
            allowed = f"this run has no such policy, only {', '.join(known)}{nearest(name, known)}"
            way = f"add it with +engine@policies.{name}=NAME, or policies.{name}={ENGINE}"
            raise ConfigError(knob, name, f"{allowed}; {way}")


def named_policies(part: object, key: str) -> Iterator[tuple[str, str]]:
    """Yield each policy that a part names, with the key of the knob that names it."""
    items = parts_of(part)
    if isinstance(part, Asking) and "policies" not in dict(items):
        items.append(("policies", tuple(part.policies)))
    for name, value in items:
        if name == "policy" and isinstance(value, str):
            yield f"{key}.policy", value
        elif name == "policies" and isinstance(value, list | tuple):
            yield from ((f"{key}.policies", each) for each in value if isinstance(each, str))
        elif not isinstance(value, str):
            yield from named_policies(value, f"{key}.{name}")


def step_writers(part: object) -> set[str]:
    """Return the policies by which a strategy declares that it writes texts step by step.

    One that asks for whole answers alone has none, and what only chooses or criticises writes no steps.
    """
    by_steps = (s for s in strategies_in(part) if not (isinstance(s, Whole) and s.whole_answers))
    return {name for each in by_steps if isinstance(each, Asking) for name in each.policies}


def key_of(name: str, key: str) -> str:
    """Return the key of a policy's configuration, as an engine has it, among the policies."""
    head, dot, rest = key.partition(".")
    return f"policies.{name}{dot}{rest}" if head == ENGINE != name else key


def placed(name: str, error: ConfigError) -> ConfigError:
    """Return an engine's error with its key among the policies: an engine only knows ``engine.model``."""
    return ConfigError(key_of(name, error.key), error.value, error.allowed)
