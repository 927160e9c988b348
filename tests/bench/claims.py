"""What the papers promise, read off a table: how many times less one method needs than another."""

from __future__ import annotations

from dataclasses import replace

from tests.bench.curves import ratio_table, ratios, short
from tests.bench.methods import REFERENCE, SYSTEMATIC
from tests.bench.scaling import Estimate
from tests.bench.stored import Table

ENTROPIC, ASTAR, BEST = "entropic_particle_filter", "astar", "best_of_n"
CLAIMS = ((REFERENCE, BEST), (SYSTEMATIC, BEST), (ENTROPIC, SYSTEMATIC), (ASTAR, REFERENCE))
"""The first needs less than the second."""
FROM = 8


def claims(table: Table) -> list[str]:
    """Return a table of ratios for each claim whose two methods were measured."""
    pairs = [(a, b) for a, b in CLAIMS if a in table.curves and b in table.curves]
    if not pairs:
        return []
    intro = "How many times fewer a method needs to be as accurate as another is at N, with 95 % intervals:"
    return [intro, *(ratio_table(table, method, reference) for method, reference in pairs)]


def spoken(table: Table) -> str:
    """Return what the claims come to, in sentences; nothing where a method or a large N was not measured."""
    needed = {name for pair in CLAIMS for name in pair}
    if not needed <= table.curves.keys() or max(p.budget for p in table.curves[BEST]) < FROM:
        return ""
    return "\n".join(
        [
            f"With multinomial resampling particle filtering needs {fewer_samples(table, REFERENCE)};",
            f"with systematic resampling {fewer_samples(table, SYSTEMATIC)}.",
            annealing(table),
            search(table),
        ]
    )


def fewer_samples(table: Table, method: str) -> str:
    """Return the ratios to best of N from ``FROM`` on, and the greatest with its interval."""
    budgets = sorted(point.budget for point in table.curves[BEST])
    found = dict(zip(budgets, ratios(table, method, BEST, "samples"), strict=True))
    found = {budget: e for budget, e in found.items() if budget >= FROM}
    most = max(found, key=lambda budget: found[budget].value)
    e = found[most]
    return (
        f"{spread(list(found.values()))} times fewer samples than best-of-N\n"
        f"at N = {FROM} to {budgets[-1]}, most at N = {most} ({e.low:.1f} to {e.high:.1f})"
    )


def across(table: Table, other: Table) -> str:
    """Return what the filter needs beside best of N as ``other`` measured it, where that is more accurate.

    Both are of the same problems and seeds. Empty where development problems chose its temperature well.
    """
    ours = {point.budget: point.accuracy.value for point in table.curves.get(BEST, ())}
    theirs = tuple(p for p in other.curves.get(BEST, ()) if p.budget >= FROM and p.budget in ours)
    is_better = theirs and all(p.accuracy.value > ours[p.budget] for p in theirs)
    if REFERENCE not in table.curves or not is_better:
        return ""
    beside = replace(table, curves={REFERENCE: table.curves[REFERENCE], BEST: theirs})
    needs = fewer_samples(beside, REFERENCE)
    return (
        f"From N = {FROM} on best-of-N is more accurate at temperature .8 than at the one chosen for it;\n"
        f"beside that curve particle filtering with multinomial resampling needs {needs}."
    )


def annealing(table: Table) -> str:
    """Return the range of the entropic filter's differences from its control."""
    ours, control = (table.curves[name] for name in (ENTROPIC, SYSTEMATIC))
    gains = [a.accuracy.value - b.accuracy.value for a, b in zip(ours, control, strict=True)]
    least, most = (short(x, signed=True) for x in (min(gains), max(gains)))
    return f"Entropic annealing minus its control, systematic resampling, is {least} to {most} over all N."


def search(table: Table) -> str:
    """Return where A* is as accurate as the filter, and what it saves there."""
    points = table.curves[ASTAR]
    ahead = [p.budget > 1 and p.difference is not None and p.difference.value >= 0 for p in points]
    if not any(ahead):
        return "A* is less accurate than the filter."
    *others, last = (str(p.budget) for p, is_ahead in zip(points, ahead, strict=True) if is_ahead)
    listed = f"{', '.join(others)} and {last}" if others else last
    tokens, calls = (
        [e for e, is_ahead in zip(ratios(table, ASTAR, REFERENCE, name), ahead, strict=True) if is_ahead]
        for name in ("tokens", "reward calls")
    )
    return (
        f"A* is at least as accurate as the filter at N = {listed}; for what the filter has there it\n"
        f"needs {spread(tokens)} times fewer tokens and {spread(calls)} times fewer reward calls."
    )


def spread(found: list[Estimate]) -> str:
    """Return the least and the greatest; what is never reached is 0, which is left out beside others."""
    values = [e.value for e in found if e.value] or [0.0]
    return f"{min(values):.1f} to {max(values):.1f}"
