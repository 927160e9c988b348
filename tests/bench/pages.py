"""The blocks of the documents that benchmarks of strategies fill: text from stored tables, and nothing else.

A block lies between the comments ``<!-- NAME -->`` and ``<!-- /NAME -->`` of a page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.bench.accuracy_pages import at_equal_budget
from tests.bench.curves import filled, markdown, short, with_interval
from tests.bench.gates import gates
from tests.bench.methods import REFERENCE
from tests.bench.pilot_pages import pilot_blocks
from tests.bench.role_pages import roles_blocks
from tests.bench.stored import DATA, Measured, Table, read_table
from tests.bench.strategy_pages import Tables, provenance, size_of, strategy_blocks

AT_EQUAL_TOKENS = ("self_consistency", "best_of_n", REFERENCE)
SPOKEN = ("self-consistency", "best-of-N", "particle filter")
EQUAL = 16
SPEED_COLUMNS = ("setting", "paths/s", "tokens/s", "speed", "passes", "accuracy", "difference", "same tokens")
COLLAPSE_COLUMNS = ("schedule", "is an end of text", "accuracy of a path")
TEXTS = ("its_hub", "cascade")
TABLES = (
    "chain",
    "chain_tuned",
    "astar_chain",
    "astar_countdown",
    "astar_confirmation",
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


def gates_blocks(folder: Path = DATA) -> dict[str, str]:
    """Return what models had to show before they were searched with."""
    path = folder / "long_chain_gates.json"
    return {"gates long_chain": gates(json.loads(path.read_text()))} if path.exists() else {}


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
    size = f"{size_of(table)}, commit {table.commit}"
    return markdown(columns, [[f"accuracy, {size}", *others, f"**{last}**"]])


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
        f"In the comparison at the top of this page, {size_of(table)} at N = {EQUAL} with the same two\n"
        f"models, each method generates {' or '.join(tokens)} tokens a problem of eight uncertain steps.\n"
        f"Paired, particle filtering is ahead of {leads[0]}\nand of {leads[1]}."
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


@cache
def stored_blocks() -> dict[str, dict[str, str]]:
    """Return what ``blocks_of`` does of the files in docs/data."""
    return blocks_of(stored())


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Write the blocks into a page. Raises ValueError where it has no place for one."""
    text = page.read_text()
    for name, block in blocks.items():
        text = filled(text, name, block)
    page.write_text(text)
