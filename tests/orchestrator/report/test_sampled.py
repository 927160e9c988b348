"""The part of the page about independent samples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.report.larger_model import exchanged
from orchestrator.report.page import make_section, write_report
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import arrange
from tests.orchestrator.allocation.made_samples import write_samples
from tests.orchestrator.report.made_runs import lines, write_run


def test_the_page_shows_saturation_bounds_and_calibration(tmp_path: Path) -> None:
    write_samples(tmp_path / "run", num_samples=16)
    page = write_report(tmp_path, tmp_path / "out", 0).read_text()
    for said in ("Saturation and bounds", "zero-inflated Beta", "N*, the next sample adds less than 0.005"):
        assert said in page
    assert "gap that a perfect verifier would close" in page
    assert "Calibration of the rewards" in page
    assert re.search(r"<th scope=\"row\">2</th><td class=\"n\">640</td>", page)  # step 2 of 40 x 16 samples
    assert {path.suffix for path in (tmp_path / "out" / "figures").glob("*-reliability.*")} == {
        ".svg",
        ".png",
    }


@pytest.mark.heavy
def test_the_largest_run_of_samples_counts(tmp_path: Path) -> None:
    for num in (8, 16):
        write_samples(tmp_path / f"n{num}", num_samples=num, num_problems=12)
    (setting,) = arrange(read_runs(tmp_path, 0))
    found = make_section(setting, "s0").sampled
    assert found is not None
    assert (found.num_samples, found.study.num_problems) == (16, 12)
    assert found.surface is not None
    assert found.surface.ks == (1, 2, 4, 8, 16)


def test_samples_that_a_search_has_cut_show_nothing(tmp_path: Path) -> None:
    pruned = {"strategy": {"_target_": "strategies.BestOfN", "prune": {"1": 2}}}
    write_samples(tmp_path / "run", num_samples=16, num_problems=12, config=pruned)
    (setting,) = arrange(read_runs(tmp_path, 0))
    assert make_section(setting, "s0").sampled is None
    assert exchanged(setting, {}, 2.0) is None  # nor what one answer costs


def test_few_samples_show_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "run", lines([1, 0, 1]))
    (setting,) = arrange(read_runs(tmp_path, 0))
    assert make_section(setting, "s0").sampled is None


def test_a_plan_shows_its_gains_apart(tmp_path: Path) -> None:
    """In sample, cross-validated, and what the run has achieved."""
    plan = {"digest": "blake2b_1", "gains": [0.075, -0.010, -0.050, 0.030], "settings": []}
    strategy = {"_target_": "strategies.ComputeOptimal", "plan": plan, "probes": 4}
    write_run(
        tmp_path / "run", lines([1, 0, 1, 1]), strategy="compute_optimal", config={"strategy": strategy}
    )
    page = write_report(tmp_path, tmp_path / "out", 0).read_text()
    assert re.search(
        r"\+0\.075</td><td class=\"n\">-0\.010 \(-0\.050 to \+0\.030\)</td><td class=\"n strong\">75\.0", page
    )
