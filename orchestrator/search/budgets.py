"""How a strategy reads ``budget=N``: which knob is N, and whether N counts independent samples."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Protocol, runtime_checkable

from orchestrator.search.strategy import Budgeted


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


@runtime_checkable
class Prunes(Protocol):
    """A strategy that may give samples up on the way: they depend on each other then."""

    prune: object


def prunes(strategy: object) -> bool:
    """Return whether a strategy gives samples up, by comparison with the others."""
    return isinstance(strategy, Prunes) and not isinstance(strategy, type) and strategy.prune is not None


def reads_budget(target: str) -> bool:
    """Return whether ``budget=N`` sets a knob of a strategy. Imports the class."""
    strategy = _class(target)
    return isinstance(strategy, Budgeted) and strategy.budget_knob is not None


def _class(target: str) -> object:
    try:
        return resolve_name(target)
    except (AttributeError, ImportError, ValueError):  # it is gone: its candidates can still be selected from
        return None
