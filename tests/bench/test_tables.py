"""Tables of strategies: what is run for them, what is kept, and what the documents say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.accuracy_pages import at_equal_budget
from tests.bench.bench_strategies import arguments, selected
from tests.bench.claims import spoken
from tests.bench.curves import filled, ratio_table
from tests.bench.measuring import Measuring, at_temperatures, best_temperatures
from tests.bench.methods import (
    REFERENCE,
    SYSTEMATIC,
    Method,
    brings_its_own,
    names,
    on_chain,
    on_countdown,
    schedule,
)
from tests.bench.pages import fill, schedules, stored, stored_blocks
from tests.bench.scaling import Estimate
from tests.bench.stored import (
    DATA,
    Measured,
    Table,
    measure,
    read_table,
    spread_out,
    with_intervals,
    write_table,
)
from tests.bench.sweeps import REPOSITORY, Outcome, Point, Sweep


@pytest.mark.parametrize("page", stored_blocks())
def test_every_figure_of_a_page_is_that_of_the_stored_files(page: str) -> None:
    """Rendering again changes nothing; `make bench-strategies ARGS=--parts` does it."""
    text, blocks = (REPOSITORY / page).read_text(), stored_blocks()[page]
    assert blocks
    for name, block in blocks.items():
        assert filled(text, name, block) == text, f"{page}: {name}"


@pytest.mark.parametrize("name", list(stored()))
def test_stored_figures_are_those_of_the_answers_beside_them(name: str) -> None:
    table = read_table(name)
    assert table is not None and len(table.commit) >= 7 and table.seeds
    if not table.is_complete:
        return  # kept from an earlier bench, without the answers
    again = with_intervals(table)
    for strategy, points in table.curves.items():
        for point, computed in zip(points, again.curves[strategy], strict=True):
            assert len(point.right) == table.problems
            assert _numbers(point) == pytest.approx(_numbers(computed), abs=1e-5)


def _numbers(point: Measured) -> list[float]:
    estimates = [e for e in (point.accuracy, point.difference) if e is not None]
    return [number for e in estimates for number in (e.value, e.low, e.high)]


def test_the_lead_over_another_method_is_paired() -> None:
    """One budget each; the reference is the last, and two others need the answers behind them."""
    table = replace(table_of(a=[[True, False]], b=[[True, True]], c=[[False, False]]), reference="b")
    found = [with_intervals(table).curves[name][0] for name in ("c", "a", "b")]
    found = [replace(p, strategy=name) for p, name in zip(found, "cab", strict=True)]
    text = at_equal_budget(table, found)
    assert "| `a` | .500 | 1.000 | 10 | 0 |" in text and "| `b` - `a` | +.500 (+.000 to +1.000) |" in text
    assert "| `b` - `c` | +1.000 (+1.000 to +1.000) |" in text and "| `a` - `c` | +.500 (" in text
    assert "`a` - `c`" not in at_equal_budget(table, [replace(p, right="") for p in found])


def test_the_rows_of_the_tables() -> None:
    assert names()[-2:] == ["hex", "hex_weighted"] and not any(map(brings_its_own, names()[:-2]))
    rows = [method.name for method in on_chain()]
    assert SYSTEMATIC in rows and {"hex", "compute_optimal"}.isdisjoint(rows)
    assert [m.name for m in on_countdown()][:2] == ["particle_filter", SYSTEMATIC]
    assert schedule((4, 12)).keys == ("strategy.block_lengths=[4,12]",)
    independent = {name for name in names() if Method(name, name).is_independent}
    assert independent >= {"hex", "hex_weighted", "best_of_n"} and "revisions" not in independent
    only = selected(on_chain(), arguments(["--strategies", SYSTEMATIC, "best_of_n"]))
    assert [m.name for m in only] == ["best_of_n", SYSTEMATIC]


def lines(right: Sequence[bool]) -> tuple[dict[str, Any], ...]:
    return tuple({"problem_id": f"p{i}", "correct": r} for i, r in enumerate(right))


def outcome(budget: int, right: Sequence[bool]) -> Outcome:
    usage = {"generated_tokens": 10 * budget * len(right), "reward_calls": 0}
    summary = {"usage": usage, "pass_at_budget": 1.0, "wall_seconds": 4.0, "num_errors": 0, "budget": budget}
    return Outcome(summary, lines(right))


def table_of(**right: Sequence[Sequence[bool]]) -> Table:
    """Methods at N = 1, 2, 4, ...: which problems were right at each."""
    curves = {
        name: tuple(measure(name, 2**i, [outcome(2**i, row)]) for i, row in enumerate(rows))
        for name, rows in right.items()
    }
    return with_intervals(Table("abc", "chain", "test", len(right["a"][0]), (0,), "a", {}, curves))


def test_a_point_counts_for_each_problem_with_how_many_seeds_it_was_right() -> None:
    point = measure("a", 2, [outcome(2, [True, False, True]), outcome(2, [True, False, False])])
    assert (point.right, point.accuracy.value, point.generated_tokens) == ("201", 0.5, 20)
    with pytest.raises(ValueError, match="same problems"):
        measure("a", 2, [outcome(2, [True]), outcome(2, [True, True])])


def test_a_table_is_written_and_read_again(tmp_path: Path) -> None:
    table = table_of(a=[[True, False] * 50, [True] * 100], b=[[True] * 100, [True] * 100])
    assert (e := table.curves["b"][0].difference) is not None
    assert (e.value, e.low, e.high) == pytest.approx((0.5, 0.4, 0.6), abs=0.02)
    write_table("x", table, tmp_path)
    assert read_table("x", tmp_path) == table and read_table("y", tmp_path) is None
    assert len((tmp_path / "x.json").read_text().splitlines()) < 30
    assert spread_out({"a": [[1], [2]]}, 2) == '{\n"a": [\n[1],\n[2]\n]\n}'


def test_ratios_leave_out_a_cost_that_a_method_does_not_have() -> None:
    """b reaches at N = 1 what a reaches at N = 2; neither calls a verifier."""
    table = table_of(a=[[False] * 8, [True] * 4 + [False] * 4], b=[[True] * 4 + [False] * 4, [True] * 8])
    head, _, first, second = ratio_table(table, "b", "a").splitlines()
    assert "samples" in head and "tokens" in head and "reward calls" not in head
    assert second.count("2.00 (2.00 to 2.00)") == 2 and first.count("1.00 (") == 2


def test_claims_are_spoken_of_where_all_of_them_were_measured() -> None:
    """Of 16 problems one method has at N what another needs 2 N or 4 N for; N = 1, 2, 4, 8."""
    rises = {k: [[i < right * 2**n for i in range(16)] for n in range(4)] for k, right in ((1, 1), (2, 2))}
    curves = {name: rises[k] for name, k in (("best_of_n", 1), (REFERENCE, 2), (SYSTEMATIC, 2), ("astar", 2))}
    flat = {"entropic_particle_filter": [[i < 2 for i in range(16)]] * 4}
    table = table_of(a=rises[1], **curves, **flat)
    scored = {k: tuple(replace(p, reward_calls=p.budget) for p in v) for k, v in table.curves.items()}
    table = with_intervals(replace(table, reference=REFERENCE, curves=scored))
    text = spoken(table)
    assert text.count("2.0 to 2.0 times fewer samples than best-of-N\nat N = 8 to 8, most at N = 8") == 2
    assert "systematic resampling, is -.875 to +.000 over all N" in text
    assert "as the filter at N = 2, 4 and 8; for what the filter has there it\nneeds 1.0 to 1.0 times" in text
    assert spoken(replace(table, curves={k: v for k, v in table.curves.items() if k != "astar"})) == ""
    assert spoken(replace(table, curves={k: v[:3] for k, v in table.curves.items()})) == ""


def test_hex_stands_beside_single_schedules() -> None:
    development = table_of(a=[[True, False]], b=[[True, True]], c=[[False, False]])
    text = schedules(table_of(a=[[True, False]], b=[[True, True]]), development)
    assert "| b | 1.000 | +.500 (+.000 to +1.000) |" in text and "| `a` | .500 |  |" in text
    assert "with 1 paths each, b is the best single schedule and a the median" in text


def test_the_temperature_of_each_method_is_the_best_on_development_problems() -> None:
    """Of equal ones the nearest to the shipped one."""
    rows = at_temperatures([Method("a", "best_of_n"), Method("greedy", "greedy")], [0.6, 0.8, 1.3])
    assert [m.name for m in rows] == ["a at 0.6", "a at 0.8", "a at 1.3"]
    assert [m.all_keys for m in rows] == [
        ("strategy.sampling.temperature=0.6",),
        (),
        ("strategy.sampling.temperature=1.3",),
    ]
    other = at_temperatures([Method("b", "astar")], [0.8, 1.0])
    assert [m.all_keys for m in other] == [("strategy.sampling.temperature=0.8",), ()], "it ships another"
    base = table_of(a=[[True]]).curves["a"][0]
    points = {
        m.name: (replace(base, accuracy=Estimate(v, v, v)),)
        for m, v in zip(rows, (0.7, 0.5, 0.7), strict=True)
    }
    table = replace(table_of(a=[[True]]), curves=points, temperatures={"a at 0.6": 0.6, "a at 1.3": 1.3})
    assert best_temperatures(table, [Method("a", "best_of_n")]) == {"a": 0.6}


def test_a_bench_runs_only_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of independent samples the largest budget; of greedy decoding one; settings in folders of their own."""
    asked: dict[str, list[Point]] = {}

    def ran(sweep: Sweep, points: list[Point], *, isolated: bool) -> None:
        asked[sweep.folder.name] = points

    def read(sweep: Sweep) -> dict[Point, Outcome]:
        return {point: outcome(point.budget, [True]) for point in asked[sweep.folder.name]}

    monkeypatch.setattr(Sweep, "run", ran)
    monkeypatch.setattr(Sweep, "read", read)
    monkeypatch.setattr("tests.bench.measuring.with_fewer", lambda o, budget: o)
    monkeypatch.setattr("tests.bench.measuring.commit", lambda: "abc")
    bench = Measuring(tmp_path, "chain", "test", 1, (0, 1))
    rows = [m for m in on_chain() if m.strategy in ("best_of_n", "greedy", "particle_filter")]
    table = bench.table(rows, (1, 2), "particle_filter")
    assert {(p.strategy, p.budget) for p in asked["as-shipped"]} == {
        ("best_of_n", 2), ("greedy", 1), ("particle_filter", 1), ("particle_filter", 2)
    }  # fmt: skip
    assert len(asked["strategy.resampling_systematic"]) == 4
    assert [[p.budget for p in points] for points in table.curves.values()] == [[1, 2], [1], [1, 2], [1, 2]]


def test_a_page_is_filled_or_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- x -->\nold\n<!-- /x -->\n")
    fill(page, {"x": "new"})
    assert page.read_text() == "<!-- x -->\nnew\n<!-- /x -->\n"
    with pytest.raises(ValueError, match="once each"):
        fill(page, {"y": "new"})


def test_stored_files_are_small() -> None:
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 400_000
    assert isinstance(stored()["chain"].curves["greedy"][0], Measured)
