"""What each policy took, and what it cost, in a report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.report.by_policy import policy_shares
from orchestrator.report.measures import measure_all
from orchestrator.report.page import Section
from orchestrator.report.runs import read_runs
from orchestrator.report.settings import Setting, arrange
from orchestrator.types import Usage
from tests.orchestrator.report.made_runs import lines, write_run


def section_of(setting: Setting) -> Section:
    return Section(setting, measure_all(setting), (), None, (), (), None, None)


def test_shares_are_of_all_problems_and_seeds(tmp_path: Path) -> None:
    draft, engine = Usage(generated_tokens=30, prompt_tokens=8, cached_tokens=2), Usage(generated_tokens=10)
    by_policy = {"draft": asdict(draft), "engine": asdict(engine)}
    rows = [{**line, "usage_by_policy": by_policy, "cost": 0.5} for line in lines([1, 0])]
    for seed in (0, 1):
        write_run(tmp_path / f"speculative-{seed}", rows, strategy="speculative", seed=seed)
    write_run(tmp_path / "alone", lines([1, 1]))
    (setting,) = arrange(read_runs(tmp_path, 1e6))
    found = {row.policy: row for row in policy_shares(setting)}
    assert found.keys() == {"draft", "engine"}
    assert (found["draft"].generated, found["draft"].read, found["draft"].cached) == (30, 8, 2)
    assert found["draft"].share == pytest.approx(0.75)
    section = section_of(setting)
    assert section.heads["cost"] == "cost"
    assert section.curves["speculative"][0].costs["cost"] == pytest.approx(0.5)


def test_without_prices_there_is_no_column_of_money(tmp_path: Path) -> None:
    write_run(tmp_path / "alone", lines([1, 1]))
    (setting,) = arrange(read_runs(tmp_path, 1e6))
    section = section_of(setting)
    assert policy_shares(setting) == []
    assert list(section.heads.values()) == ["tokens", "sequential tokens", "reward calls", "FLOPs", "wall s"]


def test_runs_with_other_policies_are_methods_of_one_setting(tmp_path: Path) -> None:
    for model in "ab":
        node = {"_target_": "e", "model": model, "price": {"generated": 1}}
        write_run(tmp_path / model, lines([1]), config={"policies": {"draft": node, "judge": "engine"}})
    (setting,) = arrange(read_runs(tmp_path, 1e6))
    assert [series.name for series in setting.series] == [
        "best_of_n (policies.draft.model=a)",
        "best_of_n (policies.draft.model=b)",
    ]
