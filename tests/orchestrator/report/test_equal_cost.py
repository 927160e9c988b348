"""What each method makes of the same cost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.report.__main__ import main
from orchestrator.report.equal_cost import equal_cost, round_budgets
from orchestrator.report.larger_model import exchange
from orchestrator.report.measures import Estimate, Measured
from orchestrator.report.page import write_report
from tests.orchestrator.report.made_runs import candidate, line, write_run

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


def test_the_exchange_with_a_larger_model() -> None:
    """6 N D_pre + 2 N k D_inf of this model = M times 6 N D_pre + 2 N D_inf of one that answers once."""
    for times, share in ((14.0, 0.16), (14.0, 22.0), (2.0, 1.0)):
        d_pre, d_inf = 1.0, share
        k = exchange(times, share)
        assert 6 * d_pre + 2 * k * d_inf == pytest.approx(times * (6 * d_pre + 2 * d_inf))
    assert exchange(2.0, 1.0) == 5.0


@pytest.mark.heavy
def test_a_page_shows_what_a_larger_model_would_pay_for(tmp_path: Path) -> None:
    """An answer has 5 tokens; twice the parameters pay for 20.75, 5.8 and 2.1 of them."""
    for budget, tokens in ((1, 5), (4, 20), (16, 80)):
        rows = [
            line(f"p{i}", budget > i, tokens=tokens, candidates=[candidate("1")] * budget) for i in (1, 8)
        ]
        config = {"strategy": {"_target_": "strategies.BestOfN", "selection": "argmax"}}
        write_run(tmp_path / f"n{budget}", rows, budget=budget, config=config)
    assert main([str(tmp_path), f"out={tmp_path / 'out'}", "larger=2"]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Against a model of 2 times the parameters" in page
    table = page[page.index("Against a larger model") :].partition("</table>")[0]
    assert re.findall(r"N=\d+</span> [\d.]+", table) == [
        "N=16</span> 100.0",
        "N=4</span> 50.0",
        "N=1</span> 0.0",
    ]
    assert "Against a model" not in write_report(tmp_path, tmp_path / "out", 0).read_text()


@pytest.mark.parametrize("value", ["1", "nan", "inf", "many"])
def test_a_model_that_is_not_larger_is_refused(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([".", f"larger={value}"]) == 2
    assert f"larger={value}: must be a number above 1" in capsys.readouterr().err
