"""Methods at equal cost: for each, the largest point within a budget of tokens or FLOPs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from orchestrator.report.measures import Measured

MAX_BUDGETS = 8
_STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Cell:
    """A method's point at a budget; ``is_partial`` if it spends less than half of it."""

    point: Measured
    is_best: bool
    is_partial: bool


@dataclass(frozen=True, slots=True)
class EqualCost:
    """By series a cell for each of ``budgets``, None if none of its points is that cheap."""

    cost: str
    budgets: tuple[float, ...]
    rows: Mapping[str, tuple[Cell | None, ...]]


def equal_cost(curves: Mapping[str, Sequence[Measured]], cost: str) -> EqualCost | None:
    """Return the table; None if there is nothing to compare: one series, or a cost that hardly varies.

    A series' point is its most expensive one within the budget, not its most accurate one: the best of
    several would be partly luck.
    """
    spent = [p.costs[cost] for p in chain.from_iterable(curves.values()) if p.costs[cost] > 0]
    budgets = round_budgets(min(spent), max(spent)) if spent else ()
    if len(curves) < 2 or len(budgets) < 2:
        return None
    return EqualCost(cost, budgets, at_budgets(curves, cost, budgets))


def at_budgets(
    curves: Mapping[str, Sequence[Measured]], cost: str, budgets: Sequence[float]
) -> dict[str, tuple[Cell | None, ...]]:
    """Return by series the point that each budget pays for, None if none of its points is that cheap."""
    columns = [{name: _affordable(points, cost, b) for name, points in curves.items()} for b in budgets]
    paid = list(zip(columns, budgets, strict=True))
    return {name: tuple(_cell(c, name, cost, b) for c, b in paid) for name in curves}


def round_budgets(least: float, most: float) -> tuple[float, ...]:
    """Return 1, 2 and 5 times powers of ten from ``least`` to the first that covers ``most``.

    At most MAX_BUDGETS, the largest; ``least`` itself counts if it is round.
    """
    tens = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    steps = [step * 10.0**power for power in tens for step in _STEPS]
    within = [b for b in steps if least <= b < most]
    return tuple([*within, *[b for b in steps if b >= most][:1]][-MAX_BUDGETS:])


def _affordable(points: Sequence[Measured], cost: str, budget: float) -> Measured | None:
    # A cost of 0 is one that was not counted.
    return max((p for p in points if 0 < p.costs[cost] <= budget), key=lambda p: p.costs[cost], default=None)


def _cell(column: Mapping[str, Measured | None], series: str, cost: str, budget: float) -> Cell | None:
    own = column[series]
    if own is None:
        return None
    best = max(p.accuracy.value for p in column.values() if p is not None)
    return Cell(own, own.accuracy.value == best, own.costs[cost] < budget / 2)
