"""How strategies read ``budget=N``: which knob is N, and whether N counts independent samples."""

from __future__ import annotations

from pkgutil import resolve_name

from orchestrator.search.strategy import Budgeted


def independent_knob(target: str) -> str | None:
    """The knob that is the number of a strategy's independent samples; None where they are not independent.

    Imports the class: ``target`` must be one that this command may build.
    """
    try:
        strategy: object = resolve_name(target)
    except (AttributeError, ImportError, ValueError):  # it is gone: its candidates can still be chosen from
        return None
    if isinstance(strategy, Budgeted) and strategy.independent_samples:
        return strategy.budget_knob
    return None
