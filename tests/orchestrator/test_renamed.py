"""Run directories and YAML files that name classes as they were called before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_class

from orchestrator.config.build import TARGET, as_plain, build_node
from orchestrator.config.compose import only_composed
from orchestrator.config.trust import Wish, shipped, wishes_of_config, wishes_of_overrides
from orchestrator.errors import ConfigError
from orchestrator.renamed import RENAMED, SINCE, Now, as_begun, renamed
from orchestrator.replay.__main__ import main as replay
from orchestrator.report.runs import read_run
from orchestrator.runs.main import main
from orchestrator.search.controller import Controller
from orchestrator.storage.atomic import write_json
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.results import ResultLog, read_results
from orchestrator.storage.run_directory import open_run_dir
from orchestrator.storage.run_files import CONFIG, RESULTS, SUMMARY
from orchestrator.storage.signing import SIGNATURE
from orchestrator.storage.totals import Totals
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from tests.fake_plans import fake_conf
from tests.orchestrator.real_runs import composed
from tests.toy import knobs_of

# What a summary says of the settings of a run.
SETTINGS = {
    "task": "chain",
    "engine": "embedded",
    "verifier": "embedded",
    "budget": 4,
    "seed": 0,
    "complete": True,
    "wall_seconds": 1.0,
}

# The strategies of the release before the public names, by the file that chose them.
OLD_STRATEGIES = {
    "astar": "strategies.astar.AStar",
    "beam_search": "strategies.beam_search.BeamSearch",
    "best_of_n": "strategies.best_of_n.BestOfN",
    "dvts": "strategies.dvts.DiverseTreeSearch",
    "entropic_particle_filter": "strategies.entropic_particle_filter.EntropicParticleFilter",
    "greedy": "strategies.greedy.Greedy",
    "hex": "strategies.hex.Hex",
    "hex_weighted": "strategies.hex_weighted.HexWeighted",
    "parallel_tempering": "strategies.parallel_tempering.ParallelTempering",
    "particle_cascade": "strategies.particle_cascade.ParticleCascade",
    "particle_filter": "strategies.particle_filter.ParticleFilter",
    "particle_gibbs": "strategies.particle_gibbs.ParticleGibbs",
    "rebase": "strategies.rebase.Rebase",
    "self_consistency": "strategies.self_consistency.SelfConsistency",
    "tree_of_thoughts": "strategies.tree_of_thoughts.TreeOfThoughts",
}


@cache
def configured(name: str) -> dict[str, Any]:
    """Today's configuration of a strategy."""
    return composed(f"strategy={name}", "budget=4", "task.limit=4")[0]


def as_before(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration as the release before wrote it: HEX had no vote but a plain one, in its own class."""
    strategy = config["strategy"] | {TARGET: OLD_STRATEGIES[name]}
    if name == "hex":
        del strategy["weight"], strategy["aggregation"]
    return {**config, "strategy": strategy}


def solve(config: Mapping[str, Any], solved: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the result lines of the problems that are left: a real strategy on fake models."""
    task, lines = FakeTask(num_problems=4), []
    controller = Controller(
        build_node(config["strategy"], "strategy"), FakeEngine(), FakeVerifier(), task, seed=config["seed"]
    )
    problems = [p for p in task.problems(0, None) if p.id not in solved]
    asyncio.run(controller.run(problems, lambda r: lines.append(result_line(r))))
    return lines


def half_run(folder: Path, name: str) -> list[dict[str, Any]]:
    """A run of the release before that was cut off in the middle; the lines of the undisturbed run."""
    lines, totals = solve(configured(name)), Totals()
    for line in lines:
        totals.add(line)
    folder.mkdir()
    write_json(folder / CONFIG, as_before(configured(name), name))
    write_json(folder / SUMMARY, SETTINGS | {"strategy": name} | totals.summary())
    write_lines(folder, lines[:2])
    return lines


def write_lines(folder: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    (folder / RESULTS).write_text("".join(json.dumps(line) + "\n" for line in lines))


def answers(lines: Any) -> dict[str, Any]:
    return {line["problem_id"]: (line["answer"], line["candidates"]) for line in lines}


@pytest.mark.heavy
@pytest.mark.parametrize("name", OLD_STRATEGIES)
def test_an_old_name_is_todays_strategy(name: str) -> None:
    now = configured(name)
    then = renamed(as_before(now, name))
    assert then == now
    assert build_node(then["strategy"], "strategy") == build_node(now["strategy"], "strategy")


@pytest.mark.parametrize("old", RENAMED)
def test_a_row_leads_to_a_class_that_the_groups_name(old: str) -> None:
    now = RENAMED[old].target
    assert now not in RENAMED
    assert now in shipped().targets
    get_class(now)


@pytest.mark.heavy
@pytest.mark.parametrize("name", OLD_STRATEGIES)
def test_an_old_run_resumes(name: str, tmp_path: Path) -> None:
    """The second half is solved with today's configuration, and the whole is the undisturbed run."""
    folder, config = tmp_path / "run", configured(name)
    lines = half_run(folder, name)
    earlier = open_run_dir(folder, config, (), resume=True)
    assert earlier.problem_ids == {line["problem_id"] for line in lines[:2]}
    log = ResultLog(folder)
    for line in solve(config, earlier.problem_ids):
        log.append(line)
    log.close()
    assert answers(read_results(folder)) == answers(lines)


def test_an_old_run_resumes_by_its_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By ``resume=DIR`` alone, through the command line. Nobody has signed what the older release wrote."""
    folder, chosen = tmp_path / "run", fake_conf(tmp_path / "conf")
    assert main([*chosen, "task.limit=4", f"run_dir={folder}"]) == 0
    lines = read_results(folder)
    write_json(folder / CONFIG, as_before(json.loads((folder / CONFIG).read_text()), "best_of_n"))
    write_lines(folder, lines[:2])
    (folder / SIGNATURE).unlink()
    assert main([*chosen[:2], f"resume={folder}"]) == 0
    assert len(lines) == 4 and answers(read_results(folder)) == answers(lines)
    capsys.readouterr()


def test_an_old_run_with_another_knob_does_not(tmp_path: Path) -> None:
    half_run(tmp_path / "run", "hex")
    config = configured("hex")
    other = config | {"strategy": config["strategy"] | {"weight": "likelihood"}}
    with pytest.raises(ConfigError, match=r"^strategy.weight=likelihood: differs"):
        open_run_dir(tmp_path / "run", other, (), resume=True)


@pytest.mark.parametrize("name", ["best_of_n", "hex_weighted"])
def test_an_old_run_replays_and_is_reported_on(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stranger's, too: nobody has signed it, and its classes are among those that the groups name."""
    folder = tmp_path / "run"
    half_run(folder, name)
    assert replay([str(folder), "budget=2", f"out={tmp_path / 'out'}"]) == 0
    assert "replayed" in capsys.readouterr().out
    (saved,) = (tmp_path / "out").glob(f"*/{CONFIG}")
    assert json.loads(saved.read_text())["strategy"][TARGET] in shipped().targets
    assert read_run(folder, "run", 1e6).config["strategy"][TARGET] in shipped().targets


@pytest.mark.parametrize("target", SINCE)
def test_a_run_keeps_the_behaviour_that_it_began_with(target: str) -> None:
    """Its file has every knob of then; a file of today's has the new ones too, and keeps their values."""
    name = next(name for name in OLD_STRATEGIES if knobs_of(name)[TARGET] == target)
    now = configured(name)
    then = {k: v for k, v in now["strategy"].items() if k not in SINCE[target].knobs}
    assert as_begun(now) == now
    begun = as_begun({**now, "strategy": then})["strategy"]
    assert begun == {**then, **SINCE[target].knobs}
    assert begun != now["strategy"]


def test_a_search_that_closed_its_states_is_not_resumed() -> None:
    config = configured("astar")
    strategy = {k: v for k, v in config["strategy"].items() if k != "reopen_cost"}
    begun = as_begun({**config, "strategy": strategy | {"branching": 8}})
    with pytest.raises(ConfigError, match=r"^strategy.reopen_cost=null: .* start it again"):
        build_node(begun["strategy"], "strategy")


def test_a_users_own_yaml_file_keeps_its_old_name(tmp_path: Path) -> None:
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text(
        "defaults: [greedy, _self_]\n_target_: strategies.greedy.Greedy\n"
    )
    plain = only_composed(["--config-dir", str(tmp_path), "strategy=mine"], as_plain)
    assert plain["strategy"][TARGET] == "strategies.Greedy"


@pytest.mark.parametrize("old", RENAMED)
def test_what_the_groups_named_is_trusted(old: str) -> None:
    known = shipped()
    assert wishes_of_config({"strategy": {TARGET: old}}, known) == []
    assert wishes_of_overrides([f"strategy._target_={old}"], known) == []
    stranger = wishes_of_config({"strategy": {TARGET: f"{old}s"}}, known)
    assert stranger == [Wish(f"strategy.{TARGET}", f"{old}s")]


def test_knobs_are_renamed_inside_other_nodes_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Now("a.New", keys={"num": "num_paths"}, added={"weight": "count"})
    monkeypatch.setattr("orchestrator.renamed.RENAMED", {"a.old.New": row})
    old = {TARGET: "a.old.New", "num": 3, "inner": [{TARGET: "a.old.New", "weight": "reward"}]}
    assert renamed({"strategy": old, "seed": 1}) == {
        "strategy": {
            TARGET: "a.New",
            "num_paths": 3,
            "weight": "count",
            "inner": [{TARGET: "a.New", "weight": "reward"}],
        },
        "seed": 1,
    }
