"""The blocks of docs/strategies.md: what tables of strategies say, and of what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.bench.claims import ENTROPIC, across, claims, spoken
from tests.bench.curves import (
    accuracy_table,
    curve_table,
    difference_table,
    markdown,
    short,
    with_interval,
    with_interval_of,
)
from tests.bench.methods import SYSTEMATIC
from tests.bench.stored import Table, with_intervals

FULL = (200, 3)
PAIRED = (
    "Differences are paired by problem and seed, with 95 % intervals bootstrapped over problems, "
    "each for itself:\nof forty intervals two miss by chance."
)
Tables = Mapping[str, Table]
"""By the names of their files."""


def caption(table: Table) -> str:
    """Return what the figures are of."""
    size = (table.problems, len(table.seeds))
    is_full = table.split != "test" or all(a >= b for a, b in zip(size, FULL, strict=True))
    reduced = "" if is_full else "Reduced run: "
    return f"{reduced}{table.problems} problems ({table.split}) x {size_of(table).partition(' x ')[2]}"


def provenance(table: Table) -> str:
    """Return what a reader needs to repeat the figures."""
    seeds = ", ".join(map(str, table.seeds))
    plural = "s" if len(table.seeds) > 1 else ""
    return (
        f"{caption(table)}: problems {table.first} to {table.first + table.problems - 1}, "
        f"seed{plural} {seeds}, commit {table.commit}."
    )


def budgets_of(table: Table) -> list[int]:
    return sorted({point.budget for points in table.curves.values() for point in points})


def compared(table: Table) -> str:
    """Return the comparison of all methods, with what the claims come to where it can be computed."""
    budgets = budgets_of(table)
    parts = [provenance(table), temperatures(table), accuracy_table(table.curves, budgets)]
    if table.reference is not None:
        parts += [PAIRED, difference_table(table.curves, budgets, table.reference)]
    return "\n\n".join([*parts, *annealed(table), *claims(table)])


def annealed(table: Table) -> list[str]:
    """Return the entropic filter minus its control, where all differences are from another method."""
    if table.reference == SYSTEMATIC or not {ENTROPIC, SYSTEMATIC} <= table.curves.keys():
        return []
    points = with_intervals(replace(table, reference=SYSTEMATIC)).curves[ENTROPIC]
    return [difference_table({ENTROPIC: points}, budgets_of(table), SYSTEMATIC)]


def temperatures(table: Table) -> str:
    if not table.temperatures:
        return "Every method samples at temperature .8."
    chosen = ", ".join(f"`{name}` {short(t)[:-2]}" for name, t in table.temperatures.items())
    return f"Temperatures that development problems chose, where not .8: {chosen}."


def size_of(table: Table) -> str:
    """Return how many problems and seeds the figures are of."""
    seeds = len(table.seeds)
    return f"{table.problems} problems x {seeds} seed{'s' if seeds > 1 else ''}"


def strategy_blocks(tables: Tables) -> dict[str, str]:
    """Return the blocks of docs/strategies.md."""
    blocks: dict[str, str] = {}
    chain = tables.get("chain")
    if chain:
        blocks["measured"] = "\n\n".join([compared(chain), picture("all")])
        blocks["claims"] = spoken(chain)
    if tuned := tables.get("chain_tuned"):
        spoken_of = [spoken(tuned), *([across(tuned, chain)] if chain else [])]
        blocks |= {"measured tuned": compared(tuned), "claims tuned": "\n".join(filter(None, spoken_of))}
    variants = [tables[name] for name in ("astar_chain", "astar_countdown") if name in tables]
    if variants:
        blocks["measured astar development"] = "\n\n".join(map(at_one_budget, variants))
    if confirmed := tables.get("astar_confirmation"):
        blocks["measured astar confirmation"] = side_by_side(confirmed)
    for table in filter(None, (chain, tables.get("hex"))):
        blocks |= {
            f"measured {name}": f"{provenance(table)}\n\n{curve_table(points)}\n\n{picture(name)}"
            for name, points in table.curves.items()
            if name != SYSTEMATIC
        }
    for name in ("countdown", "long_chain"):
        if table := tables.get(name):
            blocks[f"measured {name}"] = compared(table)
    return blocks


def at_one_budget(table: Table) -> str:
    """Return settings of one method beside each other."""
    (budget,) = budgets_of(table)
    rows = [
        [name, with_interval_of(p.accuracy), f"{p.generated_tokens:,.0f}", f"{p.reward_calls:,.1f}"]
        for name, (p,) in table.curves.items()
    ]
    columns = [f"`{table.task}`, N = {budget}", "accuracy (95 %)", "generated tokens", "reward calls"]
    return f"{provenance(table)}\n\n{markdown(columns, rows)}"


def side_by_side(table: Table) -> str:
    """Return few methods at few budgets, each minus the reference at the same budget."""
    rows = [
        [
            f"`{name}`",
            str(p.budget),
            with_interval_of(p.accuracy),
            "" if p.difference is None else with_interval(p.difference),
            f"{p.generated_tokens:,.0f}",
            f"{p.reward_calls:,.1f}",
        ]
        for name, points in table.curves.items()
        for p in points
    ]
    columns = (
        "method",
        "N",
        "accuracy (95 %)",
        f"minus `{table.reference}`",
        "generated tokens",
        "reward calls",
    )
    return f"{provenance(table)}\n\n{markdown(columns, rows)}"


def picture(name: str) -> str:
    return f"![accuracy against cost: {name}](strategies/{name}.svg)"
