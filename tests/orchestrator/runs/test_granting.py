"""``allocator=rounds`` from the command line: the same lines in shards, and after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.planning.command import main
from orchestrator.storage.results import read_results
from tests.fake_plans import fake_conf
from tests.in_process import run_here


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("granting")


@pytest.fixture(scope="module")
def chosen(folder: Path) -> list[str]:
    return [*fake_conf(folder / "conf"), "task.limit=8", "budget=4"]


ROUNDS = ("allocator=rounds", "allocator.block=4")


def lines_of(run_dir: Path) -> dict[str, Any]:
    lines = {line.pop("problem_id"): line for line in read_results(run_dir)}
    return {i: {k: v for k, v in line.items() if k != "seconds"} for i, line in lines.items()}


def solved(capsys: Any, run_dir: Path, *arguments: str) -> dict[str, Any]:
    done = run_here(capsys, *arguments, f"run_dir='{run_dir}'")
    assert done.returncode == 0, done.stderr
    return lines_of(run_dir)


def test_rounds_spend_the_budget(folder: Path, chosen: list[str], capsys: Any) -> None:
    lines = solved(capsys, folder / "whole", *chosen, *ROUNDS)
    counts = [len(line["candidates"]) for line in lines.values()]
    assert sum(counts) == 32 and len(set(counts)) > 1


def test_uniform_is_the_strategy(folder: Path, chosen: list[str], capsys: Any) -> None:
    plain = solved(capsys, folder / "plain", *chosen)
    assert solved(capsys, folder / "uniform", *chosen, "allocator=uniform") == plain


@pytest.mark.heavy
def test_shards_of_whole_blocks(folder: Path, chosen: list[str], capsys: Any) -> None:
    whole = solved(capsys, folder / "again", *chosen, *ROUNDS)
    shards: dict[str, Any] = {}
    for offset in (0, 4):
        place = ("task.limit=4", f"task.offset={offset}")
        shards |= solved(capsys, folder / f"shard{offset}", *chosen, *ROUNDS, *place)
    assert shards == whole


@pytest.mark.heavy
@pytest.mark.parametrize("num_replicas", [2, 8])
def test_any_number_of_replicas(num_replicas: int, folder: Path, chosen: list[str], capsys: Any) -> None:
    arguments = (*chosen, *ROUNDS, "allocator.gain=improvement")
    run_dir = folder / "one replica"
    one = lines_of(run_dir) if run_dir.exists() else solved(capsys, run_dir, *arguments)
    replicas = f"cluster.engine_replicas={num_replicas}"
    assert solved(capsys, folder / f"{num_replicas} replicas", *arguments, replicas) == one


def test_a_run_that_lost_lines_grants_the_rest_again(folder: Path, chosen: list[str], capsys: Any) -> None:
    """As after a kill, without journals: the finished ones bid as they did."""
    whole = solved(capsys, folder / "lost", *chosen, *ROUNDS)
    results = folder / "lost" / "results.jsonl"
    results.write_bytes(b"".join(results.read_bytes().splitlines(keepends=True)[:3]))
    done = run_here(capsys, f"resume={folder / 'lost'}", "trust=true")
    assert done.returncode == 0, done.stderr
    assert lines_of(folder / "lost") == whole


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("strategy.prune={1: 2}",), "allocator=rounds: needs independent samples"),
        (("strategy.wave_size=2",), "allocator=rounds: needs independent samples"),
        (("strategy.stop.rule=threshold",), "allocator=rounds: needs independent samples"),
        (("strategy=particle_filter", "strategy.max_steps=7"), "allocator=rounds: needs independent samples"),
        (("strategy=self_consistency",), "allocator.gain=need: needs rewards"),
        (
            ("strategy=self_consistency", "allocator.gain=improvement"),
            "allocator.gain=improvement: needs rewards",
        ),
        (("allocator.first=5",), "allocator.first=5: must be at most budget=4, the mean of all samples"),
        (("allocator.give_up=nothing.json",), "allocator.give_up=nothing.json: is no file"),
        (("allocator.share=0",), "allocator.share=0"),
        (("allocator.shares=1",), "allocator.shares"),
    ],
)
@pytest.mark.heavy
def test_mistakes(
    arguments: tuple[str, ...], message: str, folder: Path, chosen: list[str], capsys: Any
) -> None:
    others = [c for c in chosen if not (arguments[0].startswith("strategy=") and c.startswith("strategy="))]
    done = run_here(capsys, *others, *ROUNDS, *arguments, f"run_dir='{folder / 'refused'}'")
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.heavy
def test_floors_of_a_pilot(folder: Path, chosen: list[str], capsys: Any) -> None:
    """They take the place of the file in the configuration; another verifier's are refused."""
    solved(capsys, folder / "pilot", *chosen)
    file = folder / "floors.json"
    assert main(["floors", str(folder / "pilot"), f"to={file}"]) == 0
    floors = json.loads(file.read_text())["floors"]
    assert list(floors) == ["2", "4"]
    of_file = solved(capsys, folder / "by file", *chosen, *ROUNDS, f"allocator.give_up='{file}'")
    given = ", ".join(f"{num}: {level!r}" for num, level in floors.items())
    assert solved(capsys, folder / "given", *chosen, *ROUNDS, f"allocator.give_up={{{given}}}") == of_file
    saved = json.loads((folder / "by file" / "config.json").read_text())
    assert saved["allocator"]["give_up"] == floors
    other = run_here(
        capsys, *chosen, *ROUNDS, f"allocator.give_up='{file}'", "+verifier.readout=per_step",
        f"run_dir='{folder / 'other'}'",
    )  # fmt: skip
    assert other.returncode == 2 and "was fitted to the rewards of another verifier" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["floor"], "command=floor: must be fit, floors or features; did you mean 'floors'?"),
        (["floors", "nothing"], "to=null: must be the file to write"),
        (["floors", "nothing", "to=x"], "RUN_DIR=nothing"),
    ],
)
def test_mistakes_of_the_command(arguments: list[str], message: str, capsys: Any) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
