"""The numbers of a report, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.intervals import wilson_interval
from orchestrator.report.comparison import compare_all, reference_of
from orchestrator.report.measures import Measured, measure_all, pareto
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import Setting, arrange
from orchestrator.report.ties import is_tie, rule_of
from tests.orchestrator.report.made_runs import candidate, line, lines, write_run


def setting(folder: Path) -> Setting:
    (only,) = arrange(read_runs(folder, 0))
    return only


def test_accuracy_is_the_mean_over_seeds_with_a_band_of_students_t(tmp_path: Path) -> None:
    for seed, outcomes in enumerate(([1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1])):
        write_run(tmp_path / str(seed), lines(outcomes), seed=seed)
    (point,) = measure_all(setting(tmp_path))["best_of_n"]
    # Accuracies 2/4, 3/4 and 3/4: their standard error is 1/12, and t(2) is 4.3027.
    assert point.accuracy.value == pytest.approx(2 / 3)
    assert point.accuracy.low == pytest.approx(2 / 3 - 4.3027 / 12, abs=1e-4)
    assert point.accuracy.high == 1.0
    assert (point.num_seeds, point.num_problems) == (3, 4)


def test_with_one_seed_the_interval_is_over_problems(tmp_path: Path) -> None:
    write_run(tmp_path / "a", lines([1, 0, 1, 1]))
    (point,) = measure_all(setting(tmp_path))["best_of_n"]
    assert (point.accuracy.low, point.accuracy.high) == wilson_interval(3, 4)
    assert point.accuracy == point.over_problems


def test_costs_are_of_one_problem_and_counts_are_sums(tmp_path: Path) -> None:
    rows = [line("a", True, tokens=10), line("b", False, tokens=30)]
    rows[1]["error"] = {"type": "EngineError", "message": "x"}
    rows[0]["stopped_by"] = "reward_calls"
    for seed in (0, 1):
        write_run(tmp_path / str(seed), rows, seed=seed)
    (point,) = measure_all(setting(tmp_path))["best_of_n"]
    unknown = {"sequential_tokens": 0}  # lines of an older release have none
    assert point.costs == {
        "generated_tokens": 20,
        **unknown,
        "reward_calls": 2,
        "flops": 100,
        "cost": 0,
        "seconds": 4,
    }
    assert (point.num_errors, point.num_stopped, point.num_ties) == (2, 2, 0)


def test_pass_at_n_counts_right_candidates_that_were_not_chosen(tmp_path: Path) -> None:
    missed = line("a", False, candidates=[candidate("0"), candidate("1", right=True)])
    write_run(tmp_path / "a", [missed, line("b", False)])
    (point,) = measure_all(setting(tmp_path))["best_of_n"]
    assert (point.accuracy.value, point.pass_at_budget) == (0.0, 0.5)


def make_point(accuracy: float, tokens: float) -> Measured:
    from orchestrator.report.measures import Estimate

    estimate = Estimate(accuracy, 0, 1)
    costs = {"generated_tokens": tokens}
    return Measured("s", "N=1", 1, 1, 1, estimate, estimate, 1.0, costs, 0, 0, 0, True)


def test_the_quoted_figures_of_an_earlier_release_are_those_of_whole_runs(tmp_path: Path) -> None:
    pruned = {"strategy": {"_target_": "strategies.BestOfN", "prune": {"1": 1}}}
    for name, config in (("whole", None), ("pruned", pruned)):
        found = [candidate("1", right=True, group=0), candidate("0", group=1)]
        write_run(tmp_path / name, [line("p", True, candidates=found)], budget=2, config=config)
    points = [point for points in measure_all(setting(tmp_path)).values() for point in points]
    assert sorted(point.quoted.get("pass@1", -1) for point in points) == [-1, 0.5]


def test_the_pareto_frontier_rises() -> None:
    points = [make_point(*p) for p in [(0.5, 10), (0.4, 20), (0.6, 20), (0.6, 30), (0.9, 40), (0.2, 5)]]
    frontier = pareto(points, "generated_tokens")
    assert [(p.costs["generated_tokens"], p.accuracy.value) for p in frontier] == [
        (5, 0.2),
        (10, 0.5),
        (20, 0.6),
        (40, 0.9),
    ]


def test_differences_are_paired_by_problem_and_seed(tmp_path: Path) -> None:
    write_run(tmp_path / "a", lines([1, 0, 0, 0, 1]))
    write_run(tmp_path / "b", lines([1, 1, 1, 1, 0]), strategy="particle_filter")
    found = setting(tmp_path)
    reference = reference_of(found)
    assert reference is not None and reference.name == "best_of_n"
    (row,) = compare_all(found, reference)
    assert (row.series, row.num_wins, row.num_losses, row.num_problems) == ("particle_filter", 3, 1, 5)
    assert row.difference.value == pytest.approx(2 / 5)
    assert row.p == row.p_holm == pytest.approx(2 * 5 / 16)  # 4 signs, 1 or fewer of a kind, both ways


def test_pairs_are_found_by_problem_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    """Results stand in order of completion, which differs from run to run; one problem is missing."""
    ours, theirs = lines([1, 1, 0, 0, 0]), lines([1, 1, 0, 0, 0])
    write_run(tmp_path / "a", ours)
    write_run(tmp_path / "b", [theirs[i] for i in (4, 3, 1, 0)], strategy="particle_filter")
    found = setting(tmp_path)
    reference = reference_of(found)
    assert reference is not None
    (row,) = compare_all(found, reference)
    assert (row.num_wins, row.num_losses, row.num_problems) == (0, 0, 4)


def test_pairs_are_found_by_seed(tmp_path: Path) -> None:
    """Only seed 1 was run by both, and there the methods differ on the first problem alone."""
    for seed, outcomes in ((0, [0, 0]), (1, [0, 1])):
        write_run(tmp_path / f"a{seed}", lines(outcomes), seed=seed)
    for seed, outcomes in ((1, [1, 1]), (2, [0, 0])):
        write_run(tmp_path / f"b{seed}", lines(outcomes), seed=seed, strategy="particle_filter")
    found = setting(tmp_path)
    reference = reference_of(found)
    assert reference is not None
    (row,) = compare_all(found, reference)
    assert (row.num_wins, row.num_losses, row.difference.value) == (1, 0, 0.5)


def test_points_under_limits_are_compared_with_their_like(tmp_path: Path) -> None:
    for strategy in ("best_of_n", "particle_filter"):
        for tokens in (100, 200):
            limits = {"limits": {"generated_tokens": tokens, "reward_calls": None, "seconds": None}}
            outcomes = [1, strategy != "best_of_n" and tokens == 200]
            write_run(tmp_path / f"{strategy}{tokens}", lines(outcomes), strategy=strategy, config=limits)
    found = setting(tmp_path)
    reference = reference_of(found)
    assert reference is not None
    assert [(row.label, row.num_wins) for row in compare_all(found, reference)] == [
        ("N=4, generated_tokens≤100", 0),
        ("N=4, generated_tokens≤200", 1),
    ]


def test_what_was_never_run_together_is_not_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "a", lines([1, 0]), seed=0)
    write_run(tmp_path / "b", lines([1, 0]), strategy="x", seed=1)  # another seed
    write_run(tmp_path / "c", lines([1, 0]), strategy="y", budget=8)  # another budget
    found = setting(tmp_path)
    reference = reference_of(found)
    assert reference is not None
    assert compare_all(found, reference) == []


@pytest.mark.parametrize(
    ("knobs", "rule"),
    [
        ({"selection": "argmax", "aggregation": "last"}, "best_reward"),
        ({"selection": "argmax", "aggregation": "min"}, "best_weight"),
        ({"selection": "majority"}, "majority"),
        ({"selection": "weighted_majority"}, "weighted_majority"),
        ({"weight": "count"}, "majority"),
        ({"weight": "reward"}, "weighted_majority"),
        ({"num_paths": 5}, "majority"),
        ({"transition_cost": "increase"}, "best_weight"),
    ],
)
def test_what_a_strategy_chooses_by(knobs: dict[str, Any], rule: str) -> None:
    assert rule_of(knobs) == rule


@pytest.mark.parametrize(
    ("rule", "tie"),
    [("majority", True), ("weighted_majority", False), ("best_reward", True), ("best_weight", False)],
)
def test_ties(rule: Any, tie: bool) -> None:
    """Two votes each; answer 1 weighs more; the best of both have equal rewards."""
    found = [
        candidate("1", reward=0.9, log_weight=1.0),
        candidate("1", reward=0.1, log_weight=0.0),
        candidate("2", reward=0.9, log_weight=0.0),
        candidate("2", reward=0.2, log_weight=None),
        candidate(None, reward=1.0, log_weight=9.0),
    ]
    assert is_tie(found, rule) is tie
    assert not is_tie(found[:2], rule)
    assert not is_tie([], rule)
