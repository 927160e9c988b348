"""Counts of markers by hand, and that a planted difference is found and a permuted one is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.report.filters import interval
from orchestrator.report.page import make_section, render
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import arrange
from orchestrator.report.traces import (
    Rows,
    auc,
    differences,
    feature_names,
    features_of,
    mixed_problems,
    traces,
)
from tests.orchestrator.report.made_runs import candidate, line, write_run


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", {}),
        ("The answer is 12.", {}),
        ("Maybe 12, or perhaps 13; I'm NOT  SURE.", {"hedges": 3}),
        ("Wait, hmm. Actually, hold on.", {"thinking": 4}),
        ("The waiter waited.", {}),
        ("First, 3. Therefore, finally 4.", {"discourse": 3}),
        ("Let me check: let's\nverify.", {"verification": 2}),
        ("That's wrong. Try again with a different approach.", {"backtracking": 3}),
        ("The goal is 24. Step 1: break it.", {"subgoals": 3}),
        ("Working backwards from the target, 24 is 8 times 3.", {"backward_chaining": 2}),
        ("Right? Right.", {"thinking": 1}),
    ],
)
def test_counts_by_hand(text: str, counts: dict[str, int]) -> None:
    tokens, steps, *rest = features_of(text, 500, 3)
    assert (tokens, steps) == (500, 3)
    names = feature_names()[2:]
    assert {n: x / 2 for n, x in zip(names, rest, strict=True) if x} == counts
    assert features_of("maybe", 0, 1)[2] == 1000


@pytest.mark.parametrize(
    ("right", "wrong", "value"),
    [([2], [1], 1.0), ([1], [2], 0.0), ([1], [1], 0.5), ([1, 3], [2], 0.5), ([1, 2, 2], [2, 0], 4 / 6)],
)
def test_auc_by_hand(right: list[float], wrong: list[float], value: float) -> None:
    assert auc(np.array(right, dtype=float), np.array(wrong, dtype=float)) == pytest.approx(value)


def drawn(shift: float, seed: int = 0, num: int = 80) -> list[tuple[Rows, Rows]]:
    """Problems of very different levels; the first feature of right candidates is shifted."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num):
        level = rng.normal(size=4) * 10
        right, wrong = rng.normal(level, size=(4, 4)), rng.normal(level, size=(5, 4))
        right[:, 0] += shift
        found.append((right, wrong))
    return found


def test_a_planted_feature_is_found_and_a_permuted_one_is_not() -> None:
    planted = differences("abcd", drawn(0.8))
    assert [row.p_holm < 0.01 for row in planted] == [True, False, False, False]
    mean, low, high = planted[0].difference
    assert low < 0.8 < high and mean == pytest.approx(planted[0].right - planted[0].wrong)
    assert planted[0].auc[1] > 0.6
    rng = np.random.default_rng(1)
    permuted = []
    for right, wrong in drawn(0.8):
        rows = rng.permutation(np.concatenate([right, wrong]))
        permuted.append((rows[: len(right)], rows[len(right) :]))
    assert all(row.p_holm > 0.05 for row in differences("abcd", permuted))


def test_a_feature_that_no_text_has_is_left_out() -> None:
    problems = [(np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]))] * 6
    (row,) = differences(("a", "b"), problems)
    assert (row.feature, row.right, row.wrong, row.auc[0]) == ("a", 1.0, 0.0, 1.0)


def mixed(problem: str, right: str, wrong: str, **fields: Any) -> dict[str, Any]:
    candidates = [candidate("1", right=True, text=right), candidate("0", text=wrong, **fields)]
    return line(problem, True, candidates=candidates)


def test_only_finished_candidates_of_mixed_problems_count() -> None:
    lines = [mixed("a", "So.", "Maybe."), mixed("b", "So.", "Maybe.", finished=False), line("c", True)]
    ((right, wrong),) = mixed_problems(lines)
    assert (right[0, 2], wrong[0, 2]) == (0.0, 250.0)


def test_the_report_has_the_section_where_there_is_enough(tmp_path: Path) -> None:
    lines = [mixed(f"p{i}", "Thus 1.", "Maybe 0. Wait.") for i in range(12)]
    write_run(tmp_path / "many", lines)
    write_run(tmp_path / "few", lines[:9], strategy="self_consistency")
    (setting,) = arrange(read_runs(tmp_path, 1e6))
    (found,) = traces(setting)
    assert found.num_problems == 12
    rows = {row.feature: row for row in found.differences}
    assert rows.keys() == {"tokens", "steps", "hedges", "thinking", "discourse"}
    assert (rows["hedges"].auc[0], rows["discourse"].auc[0], rows["tokens"].auc[0]) == (0.0, 1.0, 0.5)
    assert rows["hedges"].p_holm == pytest.approx(5 * 2 / 2**12)
    assert interval(rows["discourse"].difference) == "250 (250 to 250)"


@pytest.mark.heavy
def test_the_page_shows_it(tmp_path: Path) -> None:
    write_run(tmp_path / "many", [mixed(f"p{i}", "Thus 1.", "Maybe 0. Wait.") for i in range(12)])
    (setting,) = arrange(read_runs(tmp_path, 1e6))
    page = render("runs", [make_section(setting, "s0")])
    assert "<h3>Traces: best_of_n" in page
    assert '<th scope="row">hedges</th><td class="n">0</td><td class="n">250</td>' in page
