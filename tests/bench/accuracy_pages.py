"""The block of docs/performance.md: three methods at an equal budget, and what sets them apart."""

from __future__ import annotations

from collections.abc import Sequence

from tests.bench.curves import markdown, short, with_interval
from tests.bench.scaling import Estimate, estimate, resamples
from tests.bench.stored import Measured, Table


def at_equal_budget(table: Table, found: Sequence[Measured]) -> str:
    """Return the figures of some points of one budget, and their differences, paired by problem and seed.

    The last point is the table's reference. The difference of two others needs the answers behind them.
    """
    rows = [
        [f"`{p.strategy}`", short(p.accuracy.value), short(p.pass_at_budget), f"{p.generated_tokens:,.0f}",
         f"{p.reward_calls:,.0f}"]
        for p in found
    ]  # fmt: skip
    columns = [
        "strategy",
        "accuracy",
        f"pass@{found[0].budget}",
        "generated tokens a problem",
        "reward calls a problem",
    ]
    *others, last = found
    ahead = [
        [f"`{last.strategy}` - `{p.strategy}`", with_interval(minus(p.difference))]
        for p in others
        if p.difference
    ]
    between = [
        [f"`{b.strategy}` - `{a.strategy}`", with_interval(between_two(table, a, b))]
        for i, a in enumerate(others)
        for b in others[i + 1 :]
        if a.right and b.right
    ]
    return f"{markdown(columns, rows)}\n\n{markdown(['', 'difference (95 %)'], [*ahead, *between])}"


def minus(found: Estimate) -> Estimate:
    """Return the difference the other way round."""
    return Estimate(0.0 - found.value, 0.0 - found.high, 0.0 - found.low)  # not -0.0, which shows its sign


def between_two(table: Table, a: Measured, b: Measured) -> Estimate:
    """Return by how much ``b`` is ahead of ``a``, paired by problem and seed."""
    rates = {name: table.rates(name) for name in (a.strategy, b.strategy)}
    at = {name: [p.budget for p in table.curves[name]].index(a.budget) for name in rates}
    gains = rates[b.strategy][:, at[b.strategy]] - rates[a.strategy][:, at[a.strategy]]
    return estimate(resamples(table.problems) @ gains)
