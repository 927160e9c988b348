"""How a search went, from the ``history`` of its result line: of a population, or of a search tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

Record = Mapping[str, Any]
SMC_COLUMNS = ("step", "ess", "entropy", "tempering", "num_alive", "unique_ancestors", "resampled")
TREE_COLUMNS = ("expansion", "f", "g", "h", "frontier")


def smc_rows(history: Sequence[Record]) -> list[list[Any]]:
    """Return SMC_COLUMNS for each step of a population; no rows for the history of any other search.

    A step counts as resampled if some slot has another slot as its ancestor.
    """
    steps = [record for record in history if "ancestors" in record]
    rows = []
    for record in steps:
        ancestors = list(record["ancestors"])
        resampled = ancestors != list(range(len(ancestors)))
        row = [record[name] for name in SMC_COLUMNS[:5]]
        rows.append([*row, len(set(ancestors)), int(resampled)])
    return rows


def tree_rows(history: Sequence[Record]) -> list[list[Any]]:
    """Return TREE_COLUMNS for each node, in the order in which they left the frontier.

    ``frontier`` is the number of nodes on the frontier, this one included. The children of a node count from
    the moment it leaves; when several nodes leave together, that is a little early.
    """
    nodes = [record for record in history if "closed" in record]
    closed = sorted((n for n in nodes if n["closed"] is not None), key=lambda n: int(n["closed"]))
    num_children = Counter(n["parent"] for n in nodes)
    sizes = accumulate((num_children[n["node"]] - 1 for n in closed), initial=num_children[None])
    return [
        [i, n["cost"] + n["heuristic"], n["cost"], n["heuristic"], size]
        for i, (n, size) in enumerate(zip(closed, sizes, strict=False))
    ]


def search_figures(history: Sequence[Record]) -> dict[str, Any]:
    """Return a few numbers about one search: ``smc/...`` of a population, ``tree/...`` of a search tree."""
    figures: dict[str, Any] = {}
    if steps := [row for row in smc_rows(history) if row[1] is not None]:
        _, ess, entropy, tempering, _, unique, resampled = zip(*steps, strict=True)
        figures |= {
            "smc/num_steps": len(steps),
            "smc/min_ess": min(ess),
            "smc/mean_ess": sum(ess) / len(ess),
            "smc/last_entropy": entropy[-1],
            "smc/max_tempering": max(tempering),
            "smc/unique_ancestors": min(unique),
            "smc/num_resamples": sum(resampled),
        }
    if pops := tree_rows(history):
        _, f, _, _, frontier = zip(*pops, strict=True)
        figures |= {
            "tree/num_nodes": sum("closed" in record for record in history),
            "tree/num_expansions": len(pops),
            "tree/max_frontier": max(frontier),
            "tree/last_frontier": frontier[-1],
            "tree/first_f": f[0],
            "tree/last_f": f[-1],
            "tree/max_f": max(f),
        }
    return figures
