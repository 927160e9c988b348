"""``plan=FILE``, ``allocator.give_up=FILE``: what a run reads of a file takes its place, and must fit it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.config.files import shipped_targets, targets_of
from orchestrator.errors import ConfigError
from orchestrator.renamed import target_now
from orchestrator.storage.fitted_files import digest_text, read_fitted
from orchestrator.storage.folders import in_home

log = logging.getLogger(__name__)

KEY = KIND = "plan"
VOTES = "vote plan"
"""The kind of a file with the coefficients of a vote."""
FLOORS, GIVE_UP = "floors", "allocator.give_up"
# Of the file: what the strategy is built of.
_READ = ("cuts", "chosen", "settings", "budget", "probes", "digest", "gains")
_READ_VOTES = ("coefficients", "intercept", "words", "digest")


def with_plan(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose strategy has the content of the plan that ``plan`` names.

    A plan that the strategy's node has already stays: config.json of a run has it. Raises ConfigError.
    """
    given, node = plain.get(KEY), plain.get("strategy", {})
    if given is None and not isinstance(node.get(KEY), str):
        return dict(plain)
    if KEY not in node:
        raise ConfigError(
            KEY, given, "is for strategy=compute_optimal and self_consistency; this one has no plan"
        )
    if isinstance(node[KEY], Mapping):
        return dict(plain)
    path = Path(in_home(str(given or node[KEY])))
    content = _read_votes(path) if _votes(node) else {name: read_plan(path)[name] for name in _READ}
    return {**plain, "strategy": {**node, KEY: content}}


def _votes(node: Mapping[str, Any]) -> bool:
    """Return whether a strategy's plan weighs votes; another one has settings by level."""
    return "weight" in node


def _read_votes(path: Path) -> dict[str, Any]:
    content = read_fitted(path, VOTES, KEY)
    missing = [name for name in _READ_VOTES if name not in content]
    if missing:
        raise ConfigError(KEY, path, f"was not written by Murmuration: it has no {missing[0]}")
    return {name: content[name] for name in _READ_VOTES}


def with_floors(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration whose ``allocator.give_up`` has the floors of the file that it names.

    Raises ConfigError for a file of another verifier, whose rewards mean something else.
    """
    node = plain.get("allocator", {})
    path = node.get("give_up")
    if not isinstance(path, str):
        return dict(plain)
    content = read_fitted(Path(in_home(path)), FLOORS, GIVE_UP)
    if content.get("verifier") != digest_text(plain["verifier"]):
        raise ConfigError(GIVE_UP, path, "was fitted to the rewards of another verifier")
    return {**plain, "allocator": {**node, "give_up": content["floors"]}}


def read_plan(path: Path) -> dict[str, Any]:
    """Read a plan that a run can follow. Raises ConfigError for one that names a class of a stranger."""
    content = read_fitted(path, KIND, KEY)
    missing = [name for name in (*_READ, "by", "task", "engine") if name not in content]
    if missing:
        raise ConfigError(KEY, path, f"was not written by Murmuration: it has no {missing[0]}")
    foreign = [t for t in map(target_now, targets_of(content["settings"])) if t not in shipped_targets()]
    if foreign:
        raise ConfigError(KEY, path, f"would build {foreign[0]}, which no file of conf/ names")
    if content["by"] == "oracle":
        allowed = "was fitted by=oracle, from right answers that a run does not have: fit it by=predicted"
        raise ConfigError(KEY, path, allowed)
    return content


def warn_unplanned(node: Mapping[str, Any]) -> None:
    """Warn where a strategy that would follow a plan has none."""
    if KEY in node and not _votes(node) and node[KEY] is None:
        log.warning("compute_optimal without plan=FILE: every problem is solved as strategy.otherwise")


def check_planned(node: Mapping[str, Any], budget: int) -> None:
    """Raise ConfigError for a budget or a number of probes that a strategy's plan was not fitted for."""
    plan = node.get(KEY)
    if plan is None or _votes(node):
        return
    for key, value in (("budget", budget), ("strategy.probes", node["probes"])):
        fitted = plan[key.rpartition(".")[2]]
        if value != fitted:
            raise ConfigError(key, value, f"must be {fitted:g}, for which the plan was fitted")
