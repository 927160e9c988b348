"""How a strategy reads ``budget=N``: which knob is N, and whether N counts independent samples, all drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

from orchestrator.search.strategy import Budgeted, most_answers, parts_of


def independent_knob(target: str) -> str | None:
    """Return the knob that sets the number of independent samples; None if they are not independent.

    Imports the class: ``target`` must be one that this command may build.
    """
    return independent_knob_of(_class(target))


def independent_knob_of(strategy: object) -> str | None:
    """Return the same knob of a strategy or of its class."""
    if not isinstance(strategy, Budgeted) or not strategy.independent_samples or prunes(strategy):
        return None
    return strategy.budget_knob


def cut_by(config: Mapping[str, Any]) -> str | None:
    """Return the key by which a run cuts independent samples; None where each problem has N of them.

    Which samples are left depends on their rewards or answers, so that they have no rates of the policy's.
    """
    if prunes(config["strategy"]):
        return "strategy.prune"
    if stops(config["strategy"]):
        return "strategy.stop"
    return "allocator" if grants(config) else None


def prunes(strategy: object) -> bool:
    """Return whether a strategy, or its node in a configuration, gives samples up on the way."""
    return not isinstance(strategy, type) and _knob(strategy, "prune") is not None


def stops(strategy: object) -> bool:
    """Return whether a strategy, or its node, may stop by a rule before N samples.

    At a level above 1 no rule does.
    """
    stop = _knob(strategy, "stop")
    rule, level = _knob(stop, "rule"), _knob(stop, "at")
    in_waves = rule in ("threshold", "beta") or bool(_knob(strategy, "wave_size"))
    return in_waves and rule != "none" and not (isinstance(level, float | int) and level > 1)


def grants(config: Mapping[str, Any]) -> bool:
    """Return whether a run grants samples across problems."""
    return _knob(config.get("allocator"), "_target_") not in (None, "orchestrator.Uniform")


def _knob(holder: object, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def reads_budget(target: str) -> bool:
    """Return whether ``budget=N`` sets a knob of a strategy. Imports the class."""
    strategy = _class(target)
    return isinstance(strategy, Budgeted) and strategy.budget_knob is not None


def most_answers_in(part: object) -> int:
    """Return the most answers that a strategy draws, or a part of it, whatever its budget; 0 if unknown."""
    return max([most_answers(part) or 0, *(most_answers_in(each) for _, each in parts_of(part))])


def _class(target: str) -> object:
    try:
        return resolve_name(target)
    except (AttributeError, ImportError, ValueError):  # it is gone: its candidates can still be selected from
        return None
