"""How a search went, from histories small enough to read."""

from typing import Any

import pytest

from orchestrator.observe.diagnostics import search_figures, smc_rows, tree_rows


def step(number: int, ess: float | None, ancestors: list[int]) -> dict[str, Any]:
    return {
        "step": number, "ess": ess, "entropy": 1.0 - number / 10, "tempering": 1.0 + number, "num_alive": 4,
        "ancestors": ancestors,
    }  # fmt: skip


def node(
    number: int, parent: int | None, cost: float, heuristic: float, closed: int | None
) -> dict[str, Any]:
    return {"node": number, "parent": parent, "cost": cost, "heuristic": heuristic, "closed": closed}


POPULATION = [step(1, 3.0, [0, 0, 2, 3]), step(2, 1.0, [2, 2, 2, 2]), step(3, 4.0, [0, 1, 2, 3])]
# The root has three children, the second of them two; the last of those is the goal.
TREE = [
    node(0, None, 0.0, 1.0, 0),
    node(1, 0, 0.0, 0.5, None),
    node(2, 0, 0.0, 0.25, 1),
    node(3, 0, 0.0, 0.75, None),
    node(4, 2, 0.5, 0.75, None),
    node(5, 2, 0.0, 0.125, 2),
]


def test_a_step_resamples_where_a_slot_comes_from_another() -> None:
    assert [(row[5], row[6]) for row in smc_rows(POPULATION)] == [(3, 1), (1, 1), (4, 0)]
    assert search_figures(POPULATION) == {
        "smc/num_steps": 3,
        "smc/min_ess": 1.0,
        "smc/mean_ess": pytest.approx(8 / 3),
        "smc/last_entropy": 0.7,
        "smc/max_tempering": 4.0,
        "smc/unique_ancestors": 1,
        "smc/num_resamples": 2,
    }


def test_the_frontier_of_a_tree_in_the_order_of_leaving() -> None:
    """One node, then the root's three children, then two of them and two new ones."""
    assert tree_rows(TREE) == [
        [0, 1.0, 0.0, 1.0, 1],
        [1, 0.25, 0.0, 0.25, 3],
        [2, 0.125, 0.0, 0.125, 4],
    ]
    assert search_figures(TREE) == {
        "tree/num_nodes": 6,
        "tree/num_expansions": 3,
        "tree/max_frontier": 4,
        "tree/last_frontier": 4,
        "tree/first_f": 1.0,
        "tree/last_f": 0.125,
        "tree/max_f": 1.0,
    }


def test_a_history_of_neither_kind_has_no_figures() -> None:
    assert search_figures([]) == {}
    assert search_figures([step(1, None, [0])]) == {}
    assert search_figures([{"something": "else"}]) == {}
