"""What a benchmark of strategies reports: tables of measured points, and the tables in a document."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tests.bench.scaling import Estimate, make_curve, resamples, times_fewer
from tests.bench.stored import Curves, Measured, Table

COSTS: dict[str, Callable[[Measured], float]] = {
    "samples": lambda point: point.budget,
    "tokens": lambda point: point.generated_tokens,
    "reward calls": lambda point: point.reward_calls,
}


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def short(value: float, *, signed: bool = False) -> str:
    """Three decimals, without the zero before the point."""
    return f"{value:{'+' if signed else ''}.3f}".replace("0.", ".", 1)


def with_interval(difference: Estimate) -> str:
    """A difference with its interval, all with their signs."""
    value, low, high = (short(x, signed=True) for x in (difference.value, difference.low, difference.high))
    return f"{value} ({low} to {high})"


def with_interval_of(share: Estimate) -> str:
    """A share with its interval."""
    return f"{short(share.value)} ({short(share.low)} to {short(share.high)})"


def curve_table(points: Sequence[Measured]) -> str:
    """One strategy: a line for each budget."""
    rows = [
        [
            str(p.budget),
            with_interval_of(p.accuracy),
            short(p.pass_at_budget),
            f"{p.generated_tokens:,.0f}",
            f"{p.reward_calls:,.1f}",
            f"{p.seconds:.2f}" if p.seconds else "",
        ]
        for p in points
    ]
    columns = ["N", "accuracy (95 %)", "pass@N", "generated tokens", "reward calls", "seconds"]
    return markdown(columns, rows)


def accuracy_table(curves: Curves, budgets: Sequence[int]) -> str:
    """Every strategy against every budget."""
    rows = []
    for strategy, points in curves.items():
        found = {p.budget: p for p in points}
        cells = [short(found[b].accuracy.value) if b in found else "" for b in budgets]
        rows.append([f"`{strategy}`", *cells])
    return markdown(["accuracy", *(f"N = {b}" for b in budgets)], rows)


def difference_table(curves: Curves, budgets: Sequence[int], reference: str) -> str:
    """Every strategy minus the reference at the same budget."""
    rows = []
    for strategy, points in curves.items():
        found = {p.budget: p.difference for p in points}
        cells = [_difference(found.get(b)) for b in budgets]
        if any(cells):
            rows.append([f"`{strategy}`", *cells])
    return markdown([f"minus `{reference}`", *(f"N = {b}" for b in budgets)], rows)


def _difference(e: Estimate | None) -> str:
    if e is None:
        return ""
    value, low, high = (short(x, signed=True) for x in (e.value, e.low, e.high))
    return f"{value} ({low} to {high})"


def ratio_table(table: Table, method: str, reference: str) -> str:
    """How many times fewer samples, tokens and reward calls ``method`` needs to be as accurate as another.

    For each budget of ``reference``, with intervals over problems. A cost that one of them does not have has
    no column.
    """
    ours, theirs = table.curves[method], table.curves[reference]
    shown = [name for name, cost in COSTS.items() if all(map(cost, [*ours, *theirs]))]
    columns = [_cells(table, method, reference, name) for name in shown]
    rows = [
        [f"N = {point.budget}: {short(point.accuracy.value)}", *cells]
        for point, *cells in zip(theirs, *columns, strict=True)
    ]
    return markdown([f"`{reference}`", *(f"`{method}`: {name}, times fewer" for name in shown)], rows)


def ratios(table: Table, method: str, reference: str, name: str) -> list[Estimate]:
    """How many times less of one cost ``method`` needs, for each budget of ``reference``."""
    ours, theirs = ([COSTS[name](p) for p in table.curves[each]] for each in (method, reference))
    return times_fewer(
        make_curve(ours, table.rates(method)),
        make_curve(theirs, table.rates(reference)),
        resamples(table.problems),
    )


def _cells(table: Table, method: str, reference: str, name: str) -> list[str]:
    most, costs = (
        max(map(COSTS[name], table.curves[method])),
        sorted(map(COSTS[name], table.curves[reference])),
    )
    found = ratios(table, method, reference, name)
    return [_times(e, cost / most) for e, cost in zip(found, costs, strict=True)]


def _times(e: Estimate, least: float) -> str:
    """A ratio with its interval; 0 is "less than can be measured", which is ``least``."""
    value, low, high = (f"{x:.2f}" if x else f"<{least:.2f}" for x in (e.value, e.low, e.high))
    return f"{value} ({low} to {high})"


def filled(document: str, name: str, text: str) -> str:
    """The document with ``text`` between its comments ``<!-- name -->`` and ``<!-- /name -->``.

    Raises ValueError where it does not have them, once each and in this order.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"the document needs {begin} and {end}, once each")
    return pattern.sub(lambda _: f"{begin}\n{text}\n{end}", document)
