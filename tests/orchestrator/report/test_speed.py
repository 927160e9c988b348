"""Tokens a second by the arguments of engines, from runs written by hand: each has a wall time of 8 s."""

from __future__ import annotations

from pathlib import Path

from orchestrator.report.page import write_report
from orchestrator.report.runs import read_runs
from orchestrator.report.speed import speeds
from tests.orchestrator.report.made_runs import line, write_run


def written(folder: Path, name: str, tokens: int, **engine: object) -> None:
    rows = [line(f"p{i}", True, tokens=tokens) for i in range(4)]
    write_run(folder / name, rows, config={"engine": {"_target_": "e", "model": "m", **engine}})


def test_a_row_for_each_engine_the_fastest_first(tmp_path: Path) -> None:
    written(tmp_path, "a", 10, cache_bytes=0, args={"max_num_seqs": 8})
    written(tmp_path, "b", 20, cache_bytes=0)
    written(tmp_path, "c", 40, cache_bytes=0)
    found = speeds(list(read_runs(tmp_path, 0)))
    assert found is not None
    assert found.keys == ("engine.args.max_num_seqs",)
    assert [(row.values, row.num_runs, row.num_tokens, row.seconds) for row in found.rows] == [
        (("",), 2, 240, 16.0),
        (("8",), 1, 40, 8.0),
    ]
    assert [row.tokens_per_second for row in found.rows] == [15.0, 5.0]


def test_the_page_shows_arguments_that_change_no_answer(tmp_path: Path) -> None:
    """Such runs are one point of one series: of two with one seed one is shown there."""
    written(tmp_path, "a", 10, max_batch_size=1)
    written(tmp_path, "b", 20, max_batch_size=32)
    page = write_report(tmp_path, tmp_path / "out", 1e6).read_text()
    assert "engine.max_batch_size</th>" in page
    assert page.count('<th scope="col" class="n">tokens/s</th>') == 2


def test_the_same_engine_has_no_table(tmp_path: Path) -> None:
    written(tmp_path, "a", 10)
    written(tmp_path, "b", 20)
    assert speeds(list(read_runs(tmp_path, 0))) is None
