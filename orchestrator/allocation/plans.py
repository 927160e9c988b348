"""Compute-optimal plans: for each level of difficulty the setting that is best there within a budget.

    theta*(level, B) = argmax over settings with mean cost <= B in that level of mean accuracy in that level

Snell et al., "Scaling LLM Test-Time Compute Optimally", https://arxiv.org/abs/2408.03314. The choice is made
on some folds of the problems and scored on the others: a choice among settings that are equal in truth then
gains nothing, while scored on its own problems it would seem to.

Shapes: S settings, P problems. Level 0 is the easiest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """``accuracy`` and ``cost`` ``[S, P]``, and how easy each problem seems ``[P]`` (greater: easier).

    ``cost`` is what a run with the plan would pay, probes included. ``nominal`` ``[S]``, where it is given,
    is what a setting pays at most: a budget of N samples allows a setting of N, though its measured mean on
    a few problems may be a little more.
    """

    accuracy: Floats
    cost: Floats
    ease: Floats
    nominal: Floats | None = None

    def of(self, problems: Ints) -> Outcomes:
        """Return the outcomes of some problems."""
        return Outcomes(self.accuracy[:, problems], self.cost[:, problems], self.ease[problems], self.nominal)


@dataclass(frozen=True, slots=True)
class Table:
    """A plan: a problem is on the level that the number of ``cuts`` above its ease gives; falling cuts."""

    cuts: tuple[float, ...]
    chosen: tuple[int, ...]

    def levels(self, ease: npt.ArrayLike) -> Ints:
        """Return the level of each problem, from 0."""
        above = np.asarray(ease, dtype=float)[..., None] < np.asarray(self.cuts)
        return np.asarray(above.sum(axis=-1), dtype=np.int64)


def cut_points(ease: Floats, num_levels: int) -> tuple[float, ...]:
    """Return falling cuts that split problems into equal shares, as far as equal values allow."""
    shares = np.arange(1, num_levels) / num_levels
    return tuple(float(x) for x in np.quantile(ease, 1 - shares))


def best_within(outcomes: Outcomes, budget: float) -> int:
    """Return the setting of the greatest mean accuracy whose mean cost is at most ``budget``.

    A tie goes to the cheaper one, then to the first. Raises ValueError where every setting costs more.
    """
    accuracy, cost = outcomes.accuracy.mean(axis=1), outcomes.cost.mean(axis=1)
    if outcomes.nominal is not None:
        cost = np.minimum(cost, outcomes.nominal)
    allowed = np.flatnonzero(cost <= budget * (1 + 1e-9))
    if not len(allowed):
        raise ValueError(f"every setting costs more than {budget:g} samples; the cheapest {cost.min():.2f}")
    return int(min(allowed, key=lambda s: (-round(float(accuracy[s]), 12), cost[s], s)))


def fit_table(outcomes: Outcomes, num_levels: int, budget: float, *, across: bool = False) -> Table:
    """Return the plan of these problems; a level without a problem takes the best setting of all.

    With ``across`` the mean cost of the whole plan is bounded instead of that of each level, where that
    solves more: levels may spend what others save. Raises ValueError where no setting is within the budget.
    """
    cuts = cut_points(outcomes.ease, num_levels)
    levels = Table(cuts, ()).levels(outcomes.ease)
    uniform = best_within(outcomes, budget)
    rows = [np.flatnonzero(levels == level) for level in range(num_levels)]
    own = [outcomes.of(row) for row in rows if len(row)]
    chosen = [best_within(level, budget) for level in own]
    if across:
        chosen = max(best_across(own, budget), chosen, key=lambda each: _total(own, each))
    filled = iter(chosen)
    return Table(cuts, tuple(next(filled) if len(row) else uniform for row in rows))


def _total(levels: Sequence[Outcomes], chosen: Sequence[int]) -> float:
    """Return how many problems a choice solves, as a mean over seeds."""
    return sum(float(level.accuracy[s].sum()) for level, s in zip(levels, chosen, strict=True))


def best_across(levels: Sequence[Outcomes], budget: float) -> list[int]:
    """Return a setting for each level so that the mean cost over all problems is at most ``budget``.

    Each level takes the setting of the greatest accuracy - price * cost, at the lowest price that the budget
    allows: the best choice among those on the concave hulls. Raises ValueError where even the cheapest cost
    more.
    """
    accuracy = np.asarray([level.accuracy.mean(axis=1) for level in levels])
    cost = np.asarray([level.cost.mean(axis=1) for level in levels])
    if levels[0].nominal is not None:
        cost = np.minimum(cost, levels[0].nominal)
    shares = np.asarray([len(level.ease) for level in levels], dtype=float)
    shares /= shares.sum()
    rises, more = accuracy[:, :, None] - accuracy[:, None, :], cost[:, :, None] - cost[:, None, :]
    for price in [0.0, *np.unique(rises[more > 0] / more[more > 0]), np.inf]:
        if price >= 0:
            best = [_worth_most(a, c, float(price)) for a, c in zip(accuracy, cost, strict=True)]
            if shares @ cost[np.arange(len(levels)), best] <= budget * (1 + 1e-9):
                return best
    raise ValueError(f"every plan costs more than {budget:g} samples")


def _worth_most(accuracy: Floats, cost: Floats, price: float) -> int:
    """Return the setting of the greatest accuracy - price * cost; a tie goes to the cheaper one."""
    worth = -cost if np.isinf(price) else np.round(accuracy - price * cost, 12)
    return int(min(np.flatnonzero(worth == worth.max()), key=lambda s: (cost[s], s)))


@dataclass(frozen=True, slots=True)
class Scored:
    """What a plan and the best single setting get for each problem ``[P]``: accuracy and cost."""

    planned: Floats
    planned_cost: Floats
    uniform: Floats
    uniform_cost: Floats

    @property
    def gain(self) -> float:
        """Mean accuracy of the plan minus that of the single setting."""
        return float((self.planned - self.uniform).mean())


def in_sample(
    outcomes: Outcomes, plain: Outcomes, num_levels: int, budget: float, *, across: bool = False
) -> Scored:
    """Score a plan on the problems that it was fitted to: a bound, not a result.

    ``plain`` are the outcomes without a plan, whose cost has no probes.
    """
    table = fit_table(outcomes, num_levels, budget, across=across)
    single = best_within(plain, budget)
    return _scored(outcomes, plain, table, single)


def cross_validated(
    outcomes: Outcomes,
    plain: Outcomes,
    num_levels: int,
    budget: float,
    num_folds: int,
    *,
    across: bool = False,
) -> Scored:
    """Score each problem by a plan, and a single setting, that were chosen on the other folds.

    Problem i is in fold i mod ``num_folds``.
    """
    num = outcomes.accuracy.shape[1]
    columns = np.zeros((4, num))
    for fold in range(num_folds):
        own = np.flatnonzero(np.arange(num) % num_folds == fold)
        rest = np.flatnonzero(np.arange(num) % num_folds != fold)
        table = fit_table(outcomes.of(rest), num_levels, budget, across=across)
        single = best_within(plain.of(rest), budget)
        part = _scored(outcomes.of(own), plain.of(own), table, single)
        columns[:, own] = part.planned, part.planned_cost, part.uniform, part.uniform_cost
    return Scored(*columns)


def _scored(outcomes: Outcomes, plain: Outcomes, table: Table, single: int) -> Scored:
    settings = np.asarray(table.chosen)[table.levels(outcomes.ease)]
    problems = np.arange(len(settings))
    return Scored(
        planned=outcomes.accuracy[settings, problems],
        planned_cost=outcomes.cost[settings, problems],
        uniform=plain.accuracy[single],
        uniform_cost=plain.cost[single],
    )


def greedy(gains: Sequence[Floats], budget: int) -> list[int]:
    """Return how many units each curve gets so that the sum of their gains is greatest.

    ``gains[i][n]`` is the gain of the (n + 1)-th unit of curve i. Each unit goes where it gains most; a tie
    to the first curve. That is the optimum where gains never rise (concave curves); units that gain nothing
    are not given.
    """
    given = [0] * len(gains)
    for _ in range(budget):
        open_ = [i for i, curve in enumerate(gains) if given[i] < len(curve) and curve[given[i]] > 0]
        if not open_:
            break
        given[max(open_, key=lambda i: (gains[i][given[i]], -i))] += 1
    return given


def oracle_allocation(curves: Floats, budget: float) -> float:
    """Return the mean accuracy if it were known in advance what each sample of each problem gains.

    ``curves`` ``[P, N]``: accuracy with 1..N samples. One sample goes to each problem, the rest up to a mean
    of ``budget`` where they gain most along each curve's concave hull: an upper bound, in sample.
    """
    hulls = [np.maximum(np.diff(_concave(row)), 0.0) for row in curves]
    given = greedy(hulls, round((budget - 1) * len(curves)))
    spent = [row[0] + hull[:n].sum() for row, hull, n in zip(curves, hulls, given, strict=True)]
    return float(np.mean(spent))


def _concave(curve: Floats) -> Floats:
    """Return the least concave curve that is nowhere below."""
    corners: list[int] = []
    for i in range(len(curve)):
        while len(corners) > 1 and _is_below(curve, corners[-2], corners[-1], i):
            corners.pop()
        corners.append(i)
    return np.asarray(np.interp(np.arange(len(curve)), corners, curve[corners]))


def _is_below(curve: Floats, a: int, b: int, c: int) -> bool:
    return bool((curve[b] - curve[a]) * (c - a) <= (curve[c] - curve[a]) * (b - a))
