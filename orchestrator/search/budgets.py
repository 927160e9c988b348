"""How a strategy reads ``budget=N``: which knob is N, and whether N counts independent samples."""

from __future__ import annotations

from pkgutil import resolve_name

from orchestrator.search.strategy import Budgeted


def independent_knob(target: str) -> str | None:
    """Return the knob that sets the number of independent samples; None if they are not independent.

    Imports the class: ``target`` must be one that this command may build.
    """
    try:
        strategy: object = resolve_name(target)
    except (
        AttributeError,
        ImportError,
        ValueError,
    ):  # the class is gone: its candidates can still be selected from
        return None
    return independent_knob_of(strategy)


def independent_knob_of(strategy: object) -> str | None:
    """Return the same knob of a strategy or of its class."""
    if isinstance(strategy, Budgeted) and strategy.independent_samples:
        return strategy.budget_knob
    return None


def reads_budget(target: str) -> bool:
    """Return whether ``budget=N`` sets a knob of a strategy. Imports the class."""
    strategy = _class(target)
    return isinstance(strategy, Budgeted) and strategy.budget_knob is not None


def _class(target: str) -> object:
    try:
        return resolve_name(target)
    except (
        AttributeError,
        ImportError,
        ValueError,
    ):  # the class is gone: its candidates can still be selected from
        return None
