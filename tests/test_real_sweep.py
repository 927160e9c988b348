"""A sweep for real: the shipped models on a local Ray, loaded once, and what W&B got of it."""

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.pool.pool import Pool
from orchestrator.config.command_line import folder_names
from orchestrator.config.plan import Plan
from orchestrator.runs.execution import Status
from orchestrator.runs.main import main, sweep_command
from orchestrator.runs.models import Models
from orchestrator.storage.results import read_results
from orchestrator.storage.sweep_index import read_index
from tests.orchestrator.wandb_records import records

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

COMMAND = ("-m", "strategy=astar,particle_filter,gredy", "budget=2,3", "task.limit=4", "tracker=wandb")
IN_THE_WAY = "budget=3,strategy=astar,task.limit=4"
Processes = dict[str, dict[str, int]]


class Watched(Models):
    """Notes which processes each point had: ``{folder: {"engine-0": pid, ...}}``."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: Processes = {}

    def of(self, plan: Plan) -> Pool:
        pool = super().of(plan)
        assert isinstance(pool, Pool)
        self.processes[plan.run_dir.name] = pool.pids()
        return pool


@pytest.fixture(scope="module")
def models() -> Iterator[Watched]:
    """One process' worth of models; signal handlers as they were."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    models = Watched()
    yield models
    models.close()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def sweep(models: Watched, folder: Path, *more: str) -> Status:
    return sweep_command(folder_names([*COMMAND, *more, f"run_dir={folder}"]), models)


@pytest.fixture(scope="module")
def swept(models: Watched, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two strategies by two budgets, a strategy that does not exist, and a folder that cannot be made."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / IN_THE_WAY).write_text("in the way")
    assert sweep(models, folder) == Status.BAD_CONFIGURATION
    return folder


def good_points(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/summary.json"))


def test_every_point_had_the_same_processes(models: Watched, swept: Path) -> None:
    assert sorted(models.processes) == [p.name for p in good_points(swept)]
    assert len(models.processes) == 3
    assert {"engine-0", "verifier-0"} == set(next(iter(models.processes.values())))
    assert len({tuple(sorted(pids.items())) for pids in models.processes.values()}) == 1


def test_failed_points_are_recorded_and_the_rest_ran(swept: Path) -> None:
    ended = {" ".join(e["overrides"][:2]): e["status"] for e in read_index(swept)}
    assert ended == {
        "strategy=astar budget=2": 0,
        "strategy=astar budget=3": 2,
        "strategy=particle_filter budget=2": 0,
        "strategy=particle_filter budget=3": 0,
        "strategy=gredy budget=2": 2,
        "strategy=gredy budget=3": 2,
    }
    for point in good_points(swept):
        assert len(read_results(point)) == 4
        assert (point / ".hydra" / "config.yaml").exists()
        assert json.loads((point / "config.json").read_text())["run_dir"] == str(point)
        assert json.loads((point / "summary.json").read_text())["usage"]["flops"] > 0


def wandb_items(point: Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind in the point's first W&B file, with dotted keys."""
    path = min((point / "wandb").glob("offline-run-*/run-*.wandb"))
    found = [getattr(r, kind) for r in records(path) if r.WhichOneof("record_type") == kind]
    items = [getattr(record, "item", None) or record.update for record in found]
    return [
        {".".join([i.key] if i.key else i.nested_key): json.loads(i.value_json) for i in row} for row in items
    ]


@pytest.mark.parametrize("strategy", ["astar", "particle_filter"])
def test_wandb_has_what_the_results_have(swept: Path, strategy: str) -> None:
    point = next(p for p in good_points(swept) if strategy in p.name)
    lines = read_results(point)
    streamed = [row for row in wandb_items(point, "history") if "problem/correct" in row]
    for number, (line, row) in enumerate(zip(lines, streamed, strict=True), 1):
        assert row["run/num_problems"] == number
        assert row["problem/correct"] == line["correct"]
        assert row["problem/generated_tokens"] == line["usage"]["generated_tokens"]
        assert row["run/accuracy"] == sum(r["correct"] for r in lines[:number]) / number
        if strategy == "astar":
            popped = [n for n in line["history"] if n["closed"] is not None]
            assert row["tree/num_expansions"] == len(popped)
            last = max(popped, key=lambda n: int(n["closed"]))
            assert row["tree/last_f"] == last["cost"] + last["heuristic"]
        else:
            assert row["smc/min_ess"] == min(record["ess"] for record in line["history"])
    told = {key: value for row in wandb_items(point, "summary") for key, value in row.items()}
    summary = json.loads((point / "summary.json").read_text())
    assert told["accuracy"] == summary["accuracy"]
    assert told["usage.generated_tokens"] == summary["usage"]["generated_tokens"]


def test_wandb_has_the_candidates_the_files_and_the_sweep(swept: Path) -> None:
    for point in good_points(swept)[:2]:
        (table,) = (point / "wandb").glob("offline-run-*/files/media/table/candidates_*.json")
        rows = json.loads(table.read_text())
        texts = [row[rows["columns"].index("text")] for row in rows["data"]]
        assert texts == [c["text"] for line in read_results(point) for c in line["candidates"]]
        (path,) = (point / "wandb").glob("offline-run-*/run-*.wandb")
        kept = {record.WhichOneof("record_type"): record for record in records(path)}
        assert kept["run"].run.run_group == swept.name
        assert kept["run"].run.run_id == json.loads((point / "wandb_run.json").read_text())["id"]
        config = {u.key: json.loads(u.value_json) for u in kept["run"].run.config.update}
        written = json.loads((point / "config.json").read_text())
        assert config["strategy.sampling.temperature"] == written["strategy"]["sampling"]["temperature"]
        uploaded = [r.artifact for r in records(path) if r.WhichOneof("record_type") == "artifact"]
        files = {entry.path for artifact in uploaded for entry in artifact.manifest.contents}
        assert {"results.jsonl", "summary.json", "config.json"} <= files


def test_a_sweep_goes_on_where_it_was(models: Watched, swept: Path) -> None:
    """One point lost its last lines, one had no folder: these alone are run, on the same replicas."""
    (first, *_), pids = good_points(swept), next(iter(models.processes.values()))
    before = {p.name: (p / "results.jsonl").read_bytes() for p in good_points(swept)}
    lines = (first / "results.jsonl").read_text().splitlines(keepends=True)
    (first / "results.jsonl").write_text("".join(lines[:2]))
    (swept / IN_THE_WAY).unlink()
    models.processes.clear()
    assert sweep(models, swept, "resume=true") == Status.BAD_CONFIGURATION  # gredy is still none
    assert models.processes == {first.name: pids, IN_THE_WAY: pids}
    assert len(read_results(first)) == 4
    runs = list((first / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(runs) == 2 and len({path.name for path in runs}) == 1  # two sittings of one W&B run
    for name, content in before.items():
        if name != first.name:
            assert (swept / name / "results.jsonl").read_bytes() == content


def test_the_same_answers_without_ray(swept: Path, tmp_path: Path) -> None:
    """Bit by bit, rewards and weights included, with three engines in threads."""
    point = next(p for p in good_points(swept) if "particle_filter" in p.name and "budget=2" in p.name)
    keys = ("cluster=inprocess", "cluster.engine_replicas=3", "strategy=particle_filter", "budget=2")
    assert main([*keys, "task.limit=4", "tracker=none", f"run_dir={tmp_path / 'run'}"]) == 0

    def decided(folder: Path) -> dict[str, Any]:
        kept = ("answer", "candidates", "history", "error")
        return {line["problem_id"]: [line[key] for key in kept] for line in read_results(folder)}

    assert decided(tmp_path / "run") == decided(point)


def test_other_models_take_their_place(models: Watched, swept: Path, tmp_path: Path) -> None:
    """Without a verifier the pool is another one; points in between do not make it load twice."""
    models.processes.clear()
    command = ["-m", "seed=0,1", "verifier=none,embedded", "strategy=greedy", "task.limit=1", "tracker=none"]
    status = sweep_command(folder_names([*command, f"run_dir={tmp_path / 'out'}"]), models)
    assert status == Status.FINISHED
    kinds = [tuple(pids) for pids in models.processes.values()]
    assert kinds == [("engine-0",)] * 2 + [("engine-0", "verifier-0")] * 2
    assert len({pids["engine-0"] for pids in models.processes.values()}) == 2
    shutil.rmtree(tmp_path)
