"""A run resumes with what it has read of a fitted file, wherever the file is by then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.calibrate.__main__ import main as calibrate
from orchestrator.config.kept import NOTHING_KEPT, kept_of, with_kept
from orchestrator.errors import ConfigError
from orchestrator.planning.command import main as allocation
from orchestrator.storage.results import read_results
from tests.fake_plans import fake_conf
from tests.in_process import run_here

VOTES = {"coefficients": [1.0], "intercept": 0.0}
STRATEGY = {"_target_": "strategies.SelfConsistency", "plan": VOTES}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """As a run has left it that read ``votes.json``."""
    return begun(tmp_path, STRATEGY)


def begun(run_dir: Path, strategy: dict[str, Any]) -> Path:
    names = {name: name for name in ("task", "strategy", "engine", "verifier")}
    nodes = {**{name: {} for name in ("task", "engine", "verifier")}, "strategy": strategy}
    config = {**nodes, "names": names, "budget": 1, "seed": 0, "concurrency": 1, "limits": {}}
    (run_dir / "config.json").write_text(json.dumps(config))
    (run_dir / "command.json").write_text(json.dumps({"overrides": ["seed=3", "plan=votes.json"]}))
    return run_dir


def test_the_content_takes_the_place_of_the_path(run_dir: Path) -> None:
    kept = kept_of(run_dir, ["plan=votes.json", "seed=3"])
    assert kept == {"strategy": STRATEGY}
    plain = {"plan": "votes.json", "strategy": {"_target_": "strategies.SelfConsistency", "plan": None}}
    assert with_kept(plain, kept) == {"plan": "votes.json", "strategy": STRATEGY}


@pytest.mark.parametrize(
    "overrides",
    [[], ["plan=others.json"], ["strategy.plan=votes.json"], ["plan=votes.json", "plan=others.json"]],
)
def test_another_file_is_read(overrides: list[str], run_dir: Path) -> None:
    assert kept_of(run_dir, overrides) == {}


def test_a_directory_without_a_run_keeps_nothing(tmp_path: Path) -> None:
    assert kept_of(tmp_path, ["plan=votes.json"]) == NOTHING_KEPT


def test_another_class_keeps_nothing(run_dir: Path) -> None:
    plain = {"plan": "votes.json", "strategy": {"_target_": "strategies.ComputeOptimal", "plan": None}}
    assert with_kept(plain, kept_of(run_dir, ["plan=votes.json"])) == plain


def test_a_plan_of_a_stranger_builds_nothing(tmp_path: Path) -> None:
    """The file would be refused: so is a folder that has its content."""
    plan = {"settings": [{"_target_": "subprocess.Popen"}]}
    begun(tmp_path, {"_target_": "strategies.ComputeOptimal", "plan": plan})
    with pytest.raises(ConfigError, match=r"would build subprocess\.Popen, which no file of conf/ names"):
        kept_of(tmp_path, ["plan=votes.json"])


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*fake_conf(tmp_path_factory.mktemp("conf")), "task.limit=6", "budget=4", "tracker=none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fitted")


@pytest.mark.heavy
@pytest.mark.parametrize("later", ["gone", "fitted again"])
@pytest.mark.parametrize("kind", ["calibration", "floors", "features"])
def test_a_run_resumes_whatever_has_become_of_the_file(
    kind: str, later: str, folder: Path, chosen: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pilot, file, run_dir = folder / "pilot", folder / f"{kind}.json", folder / f"{kind}, {later}"
    if not pilot.exists():
        assert run_here(capsys, *chosen, f"run_dir={pilot}").returncode == 0
    command = [str(pilot), f"to={file}"]
    assert (calibrate(command) if kind == "calibration" else allocation([kind, *command])) == 0
    using = {
        "calibration": [f"verifier.calibration={file}"],
        "floors": ["allocator=rounds", "allocator.block=4", f"allocator.give_up={file}"],
        "features": ["strategy=self_consistency", "strategy.weight=features", f"plan={file}"],
    }
    done = run_here(capsys, *chosen, *using[kind], f"run_dir='{run_dir}'")
    assert done.returncode == 0, done.stderr
    whole, results = ids_and_answers(run_dir), run_dir / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:2]))
    file.unlink()
    if later == "fitted again":
        file.write_text("{}")
    resumed = run_here(capsys, f"resume={run_dir}", "trust=true")
    assert resumed.returncode == 0, resumed.stderr
    assert ids_and_answers(run_dir) == whole


def ids_and_answers(run_dir: Path) -> dict[str, Any]:
    return {line["problem_id"]: line["answer"] for line in read_results(run_dir)}
