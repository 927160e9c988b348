"""What the benchmarks are made of: which points are run, and how they are compared."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.storage.run_files import CONFIG, RESULTS, SUMMARY
from tests.bench.curves import filled
from tests.bench.methods import names
from tests.bench.plots import plot_all, spread, styles
from tests.bench.scaling import Estimate
from tests.bench.stored import Measured
from tests.bench.sweeps import Block, Point, Sweep, blocks, by_problem
from tests.bench.two_samples import chi_square, two_sample_test
from tests.orchestrator.report.made_runs import line

POINTS = st.builds(Point, st.sampled_from([1, 2, 4]), st.sampled_from("abc"), st.integers(0, 3))


@given(st.sets(POINTS))
def test_blocks_hold_every_point_once(points: set[Point]) -> None:
    made = [Point(b.budget, name, s) for b in blocks(points) for name in b.strategies for s in b.seeds]
    assert sorted(made) == sorted(points)


def test_seeds_that_want_the_same_share_a_process() -> None:
    points = [Point(8, name, seed) for name in "ab" for seed in range(3)]
    assert list(blocks(points)) == [Block(8, ("a", "b"), (0, 1, 2))]
    assert list(blocks(points[1:])) == [Block(8, ("b",), (0,)), Block(8, ("a", "b"), (1, 2))]


class Recorded:
    """Stands for run.py: writes what a point leaves behind, cut off where ``complete`` is false."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.points: list[Point] = []
        self.complete = True

        def run(sweep: Sweep, block: Block) -> None:
            for point in [Point(block.budget, n, s) for n in block.strategies for s in block.seeds]:
                self._write(sweep.folder / f"{point.strategy}/{point.budget}-{point.seed}", point)

        monkeypatch.setattr(Sweep, "_run", run)

    def _write(self, folder: Path, point: Point) -> None:
        self.points.append(point)
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text("{}")
        lines = [line(f"p{i}", i > point.seed) for i in reversed(range(3))]
        (folder / RESULTS).write_text("".join(json.dumps(one) + "\n" for one in lines))
        summary = {"strategy": point.strategy, "budget": point.budget, "seed": point.seed}
        (folder / SUMMARY).write_text(json.dumps(summary | {"complete": self.complete}))


def test_complete_points_are_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, sweep = Recorded(monkeypatch), Sweep(tmp_path / "sweep", problems=3)
    first, second = [Point(4, "a", 0)], [Point(4, "a", 0), Point(4, "a", 1)]
    sweep.run(first)
    sweep.run(second)
    assert runner.points == second
    assert by_problem(sweep.read(), "a", 4, [0, 1]) == [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]


def test_a_point_that_was_cut_off_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, sweep = Recorded(monkeypatch), Sweep(tmp_path, problems=3)
    runner.complete = False
    sweep.run([Point(4, "a", 0)])
    assert sweep.read() == {}
    runner.complete = True
    sweep.run([Point(4, "a", 0)])
    assert list(sweep.read()) == [Point(4, "a", 0)]


def test_another_sweep_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded(monkeypatch)
    Sweep(tmp_path, problems=3).run([])
    with pytest.raises(SystemExit, match="holds another sweep"):
        Sweep(tmp_path, problems=4).run([])


def measured(strategy: str, budget: int, accuracy: float) -> Measured:
    estimate = Estimate(accuracy, accuracy - 0.1, accuracy + 0.1)
    return Measured(strategy, budget, estimate, accuracy, 80.0 * budget, 9.0 * budget, 0.1, 0, None)


@given(st.lists(st.floats(0, 1), max_size=15))
def test_labels_lie_apart_in_order_and_within_the_figure(heights: list[float]) -> None:
    gap, at = 0.06, spread(heights, 0.06)
    assert all(-1e-9 <= y <= 1 + 1e-9 for y in at)
    placed = sorted(zip(at, heights, strict=True))
    for (low, below), (high, above) in itertools.pairwise(placed):
        assert high - low >= gap - 1e-9 and below <= above


def test_labels_that_are_apart_stay_where_they_are() -> None:
    assert spread([0.9, 0.1, 0.5], 0.06) == [0.9, 0.1, 0.5]
    assert spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55])
    with pytest.raises(ValueError, match="do not fit"):
        spread([0.5] * 4, 0.5)


def test_every_strategy_looks_its_own_way_whatever_is_beside_it() -> None:
    looks = styles(names())
    assert len({(s["color"], s["linestyle"]) for s in looks.values()}) == len(names())
    assert len({(s["marker"], s["linestyle"]) for s in looks.values()}) == len(names())
    assert styles(["rebase"])["rebase"] == looks["rebase"]


def test_the_picture_names_every_strategy(tmp_path: Path) -> None:
    curves = {
        "greedy": [measured("greedy", 1, 0.5)],
        "astar": [measured("astar", n, 0.3 + 0.1 * n) for n in (1, 2, 4)],
        "mine": [],
    }
    paths = [tmp_path / "all.svg", tmp_path / "again.svg"]
    plot_all(curves, "40 problems", paths)
    text = paths[0].read_text()
    assert text == paths[1].read_text()
    for name in ("greedy", "astar", "40 problems", "generated tokens a problem"):
        assert f">{name}<" in text
    assert ">mine<" not in text


def test_a_document_is_filled_again_and_again() -> None:
    document = "before\n<!-- x -->\n<!-- /x -->\nafter"
    once = filled(document, "x", r"a \1 b")
    assert once == "before\n<!-- x -->\na \\1 b\n<!-- /x -->\nafter"
    assert filled(once, "x", r"a \1 b") == once
    with pytest.raises(ValueError, match="once each"):
        filled(document, "y", "")


def test_chi_square_by_hand() -> None:
    """Expected counts are 15 and 5 in both rows: (25 + 25) / 15 + (25 + 25) / 5."""
    assert chi_square([20, 0], [10, 10]) == pytest.approx(50 / 15 + 50 / 5)
    assert chi_square([[20, 0], [5, 5]], [[10, 10], [5, 5]]) == pytest.approx([50 / 15 + 50 / 5, 0])


def test_the_two_sample_test_is_wrong_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    samples = rng.choice(list("abcd"), size=(300, 2, 80), p=[0.6, 0.3, 0.08, 0.02])
    p_values = [two_sample_test(list(a), list(b), num_resamples=400)[1] for a, b in samples]
    assert 0.03 < np.mean(np.array(p_values) <= 0.1) < 0.16
    assert two_sample_test(["a"] * 50, ["a"] * 30 + ["b"] * 20)[1] < 0.001
