"""The blocks of the documents that benchmarks of strategies fill: text from stored tables, and nothing else.

A block lies between the comments ``<!-- NAME -->`` and ``<!-- /NAME -->`` of a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.accuracy_pages import at_equal_budget
from tests.bench.claims import claims, spoken
from tests.bench.curves import (
    accuracy_table,
    curve_table,
    difference_table,
    filled,
    markdown,
    short,
    with_interval,
    with_interval_of,
)
from tests.bench.gates import gates
from tests.bench.methods import REFERENCE, SYSTEMATIC
from tests.bench.pilot_pages import pilot_blocks
from tests.bench.role_pages import roles_blocks
from tests.bench.stored import DATA, Measured, Table, read_table

FULL = (200, 3)
AT_EQUAL_TOKENS = ("self_consistency", "best_of_n", REFERENCE)
SPOKEN = ("self-consistency", "best-of-N", "particle filter")
EQUAL = 16
SPEED_COLUMNS = ("setting", "paths/s", "tokens/s", "speed", "passes", "accuracy", "difference", "same tokens")
COLLAPSE_COLUMNS = ("schedule", "is an end of text", "accuracy of a path")
Tables = Mapping[str, Table]
"""By the names of their files."""
TEXTS = ("its_hub", "cascade")
TABLES = (
    "chain",
    "chain_tuned",
    "astar_chain",
    "astar_countdown",
    "countdown",
    "long_chain",
    "hex",
    "hex_schedules",
    "hex_development",
)


def stored(folder: Path = DATA) -> Tables:
    """Return every table that has a file."""
    found = {name: read_table(name, folder) for name in TABLES}
    return {name: table for name, table in found.items() if table is not None}


def caption(table: Table) -> str:
    """Return what the figures are of."""
    size = (table.problems, len(table.seeds))
    is_full = table.split != "test" or all(a >= b for a, b in zip(size, FULL, strict=True))
    reduced = "" if is_full else "Reduced run: "
    return f"{reduced}{table.problems} problems ({table.split}) x {_size(table).partition(' x ')[2]}"


def provenance(table: Table) -> str:
    """Return what a reader needs to repeat the figures."""
    seeds = ", ".join(map(str, table.seeds))
    plural = "s" if len(table.seeds) > 1 else ""
    return (
        f"{caption(table)}: problems 0 to {table.problems - 1}, seed{plural} {seeds}, commit {table.commit}."
    )


def budgets_of(table: Table) -> list[int]:
    return sorted({point.budget for points in table.curves.values() for point in points})


def compared(table: Table) -> str:
    """Return the comparison of all methods, with what the claims come to where it can be computed."""
    budgets = budgets_of(table)
    parts = [provenance(table), temperatures(table), accuracy_table(table.curves, budgets)]
    if table.reference is not None:
        intro = (
            "Differences are paired by problem and seed, with 95 % intervals bootstrapped over problems, "
            "each for itself:\nof forty intervals two miss by chance."
        )
        parts += [intro, difference_table(table.curves, budgets, table.reference)]
    return "\n\n".join([*parts, *claims(table)])


def temperatures(table: Table) -> str:
    if not table.temperatures:
        return "Every method samples at temperature .8."
    chosen = ", ".join(f"`{name}` {short(t)[:-2]}" for name, t in table.temperatures.items())
    return f"Temperatures that development problems chose, where not .8: {chosen}."


def strategy_blocks(tables: Tables) -> dict[str, str]:
    """Return the blocks of docs/strategies.md."""
    blocks: dict[str, str] = {}
    chain = tables.get("chain")
    if chain:
        blocks["measured"] = "\n\n".join([compared(chain), picture("all")])
        blocks["claims"] = spoken(chain)
    if tuned := tables.get("chain_tuned"):
        blocks |= {"measured tuned": compared(tuned), "claims tuned": spoken(tuned)}
    variants = [tables[name] for name in ("astar_chain", "astar_countdown") if name in tables]
    if variants:
        blocks["measured astar development"] = "\n\n".join(map(at_one_budget, variants))
    for table in filter(None, (chain, tables.get("hex"))):
        blocks |= {
            f"measured {name}": f"{caption(table)}.\n\n{curve_table(points)}\n\n{picture(name)}"
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


def gates_blocks(folder: Path = DATA) -> dict[str, str]:
    """Return what models had to show before they were searched with."""
    path = folder / "long_chain_gates.json"
    return {"gates long_chain": gates(json.loads(path.read_text()))} if path.exists() else {}


def picture(name: str) -> str:
    return f"![accuracy against cost: {name}](strategies/{name}.svg)"


def schedules(table: Table, development: Table) -> str:
    """Return HEX beside the votes of single schedules with as many paths, and of the two best together."""
    hex_, *others = table.curves
    points = table.curves[hex_]
    rows = [[f"`{hex_}`" if name == hex_ else name, *_beside(table, name)] for name in (hex_, *others)]
    columns = [c for p in points for c in (f"{p.budget} paths", f"minus `{hex_}`")]
    ranked = sorted(development.curves, key=lambda name: -development.curves[name][0].accuracy.value)
    paths = development.curves[ranked[0]][0].budget
    chosen = (
        f"On {development.problems} development problems, with {paths} paths each, {ranked[0]} is "
        f"the best single schedule and {ranked[len(ranked) // 2]} the median; the last row shares its paths "
        "between the two best."
    )
    return "\n\n".join([provenance(table), markdown(["vote over", *columns], rows), chosen])


def _beside(table: Table, name: str) -> list[str]:
    return [cell for p in table.curves[name] for cell in (short(p.accuracy.value), _signed(p))]


def _signed(point: Measured) -> str:
    e = point.difference
    return "" if e is None else with_interval(e)


def readme_blocks(tables: Tables) -> dict[str, str]:
    """Return the blocks of README.md: three methods at equal tokens, and their differences."""
    chain, found = tables.get("chain"), equal(tables)
    if chain is None or not found:
        return {}
    return {"strategies": _at_equal_tokens(chain, found), "differences": _ahead(chain, found)}


def performance_blocks(tables: Tables) -> dict[str, str]:
    """Return the block of docs/performance.md: the same three methods, with what they cost."""
    chain, found = tables.get("chain"), equal(tables)
    if chain is None or not found:
        return {}
    return {"accuracy": f"{provenance(chain)}\n\n{at_equal_budget(chain, found)}"}


def equal(tables: Tables) -> list[Measured]:
    """Return the three methods at one budget; none where one of them is missing."""
    chain = tables.get("chain")
    if chain is None or not all(name in chain.curves for name in AT_EQUAL_TOKENS):
        return []
    return [next(p for p in chain.curves[name] if p.budget == EQUAL) for name in AT_EQUAL_TOKENS]


def _at_equal_tokens(table: Table, found: Sequence[Measured]) -> str:
    tokens = max(point.generated_tokens for point in found)
    columns = [
        f"at equal tokens ({tokens:,.0f} a problem)",
        "self-consistency",
        "best-of-N",
        "particle filter",
    ]
    *others, last = (short(point.accuracy.value) for point in found)
    return markdown(columns, [[f"accuracy, {_size(table)}", *others, f"**{last}**"]])


def _size(table: Table) -> str:
    seeds = len(table.seeds)
    return f"{table.problems} problems x {seeds} seed{'s' if seeds > 1 else ''}"


def _ahead(table: Table, found: Sequence[Measured]) -> str:
    """The particle filter's lead, paired, in the words of the README."""
    tokens = sorted({f"{point.generated_tokens:,.0f}" for point in found})
    leads = []
    for name, point in zip(("self-consistency", "best-of-N"), found, strict=False):
        assert point.difference is not None
        value, low, high = (
            short(-x) for x in (point.difference.value, point.difference.high, point.difference.low)
        )
        leads.append(f"{name} by {value} (95 % interval {low} to {high})")
    return (
        f"In the comparison at the top of this page, {_size(table)} at N = {EQUAL} with the same two\n"
        f"models, each method generates {' or '.join(tokens)} tokens a problem. Paired, particle filtering\n"
        f"is ahead of {leads[0]} and of\n{leads[1]}."
    )


def diffusion(figures: Mapping[str, Any]) -> str:
    """Return the tables of the diffusion engine's options, from the cells that bench_diffusion wrote."""
    parts = [
        f"{figures['of']}, commit {figures['commit']}:",
        markdown(SPEED_COLUMNS, figures["speed"]),
        f"The first token that a path commits, temperature {figures['temperature']:g}:",
        markdown(COLLAPSE_COLUMNS, figures["collapse"]),
    ]
    return "\n\n".join(parts)


def diffusion_blocks(tables: Tables, folder: Path = DATA) -> dict[str, str]:
    """Return the blocks of docs/diffusion.md."""
    votes, development = tables.get("hex_schedules"), tables.get("hex_development")
    blocks = {"schedules": schedules(votes, development)} if votes and development else {}
    path = folder / "diffusion.json"
    return blocks | ({"diffusion": diffusion(json.loads(path.read_text()))} if path.exists() else {})


def text_blocks(names: Sequence[str], folder: Path = DATA) -> dict[str, str]:
    """Return the blocks that other benchmarks keep as text."""
    paths = {name: folder / f"{name}.txt" for name in names}
    return {name: path.read_text().rstrip("\n") for name, path in paths.items() if path.exists()}


def blocks_of(tables: Tables, folder: Path = DATA) -> dict[str, dict[str, str]]:
    """Return by page, from the root of the repository, what its blocks hold."""
    return {
        "README.md": readme_blocks(tables),
        "docs/strategies.md": strategy_blocks(tables) | text_blocks(TEXTS, folder) | gates_blocks(folder),
        "docs/performance.md": performance_blocks(tables),
        "docs/diffusion.md": diffusion_blocks(tables, folder),
        "docs/roles.md": roles_blocks(folder) | text_blocks(("ratios",), folder),
        **pilot_blocks(folder),
    }


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Write the blocks into a page. Raises ValueError where it has no place for one."""
    text = page.read_text()
    for name, block in blocks.items():
        text = filled(text, name, block)
    page.write_text(text)
