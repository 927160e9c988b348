"""What each method makes of the same cost."""

from __future__ import annotations

import pytest

from orchestrator.report.equal_cost import equal_cost, round_budgets
from orchestrator.report.measures import Estimate, Measured

COST = "generated_tokens"


def point(series: str, tokens: float, accuracy: float) -> Measured:
    estimate = Estimate(accuracy, 0, 1)
    return Measured(series, f"N={tokens}", 1, 1, 1, estimate, estimate, 1.0, {COST: tokens}, 0, 0, 0, True)


def shown(rows: list[list[Measured]]) -> list[list[str]]:
    """``0.6`` for a cell, with ``!`` where it is best and ``~`` where half of the budget is left."""
    table = equal_cost({points[0].series: points for points in rows}, COST)
    assert table is not None
    return [
        ["" if c is None else f"{c.point.accuracy.value}{'!' * c.is_best}{'~' * c.is_partial}" for c in cells]
        for cells in table.rows.values()
    ]


def test_of_each_method_the_largest_point_that_the_budget_pays_for() -> None:
    """Budgets of 100, 200 and 500; a larger point counts, also where a smaller one was luckier."""
    rows = [
        [point("a", 90, 0.5), point("a", 180, 0.7), point("a", 400, 0.6)],
        [point("b", 190, 0.8)],
    ]
    assert shown(rows) == [["0.5!", "0.7", "0.6"], ["", "0.8!", "0.8!~"]]


@pytest.mark.parametrize(
    ("least", "most", "budgets"),
    [
        (90, 400, (100, 200, 500)),
        (100, 500, (100, 200, 500)),
        (1.5e8, 4e9, (2e8, 5e8, 1e9, 2e9, 5e9)),
        (0.03, 0.04, (0.05,)),
        (1, 1e6, (5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6)),
        (7, 7, (10,)),
    ],
)
def test_budgets_are_round_numbers(least: float, most: float, budgets: tuple[float, ...]) -> None:
    assert round_budgets(least, most) == pytest.approx(budgets)


def test_one_method_or_one_cost_is_no_comparison() -> None:
    assert equal_cost({"a": [point("a", 90, 0.5), point("a", 400, 0.5)]}, COST) is None
    assert equal_cost({"a": [point("a", 90, 0.5)], "b": [point("b", 91, 0.5)]}, COST) is None
    assert equal_cost({"a": [point("a", 0, 0.5)], "b": [point("b", 0, 0.5)]}, COST) is None
