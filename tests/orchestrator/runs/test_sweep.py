"""What is done with the points of a sweep, with runs that only note that they were asked for."""

import errno
import io
import json
from pathlib import Path

import pytest
from omegaconf import DictConfig
from rich.console import Console

from orchestrator.config.command_line import continued_command, folder_names, is_sweep
from orchestrator.errors import ConfigError
from orchestrator.runs.execution import Status
from orchestrator.runs.sweep import PlannedPoint, RefusedPoint, Sweep, plan_sweep, run_sweep
from orchestrator.storage.run_directory import claimed
from orchestrator.storage.sweep_index import INDEX, SweepIndex, read_index, sweep_folder


def models_of(config: DictConfig) -> str:
    if config.budget < 1:
        raise ConfigError("budget", config.budget, "must be 1 or more")
    return str(config.verifier._target_)


def planned(folder: Path, *arguments: str) -> Sweep:
    return plan_sweep(folder_names(["-m", *arguments, f"run_dir={folder}"]), models_of)


def console() -> Console:
    return Console(file=io.StringIO(), width=80)


@pytest.mark.heavy
def test_points_that_share_models_are_adjacent_and_keep_their_names(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "seed=0,1", "verifier=embedded,none", "strategy=greedy", "tracker=none")
    assert [p.point.name for p in sweep.planned] == [
        f"seed={seed} verifier={verifier}" for seed in (0, 1) for verifier in ("embedded", "none")
    ]
    assert [p.point.number for p in sweep.in_order] == [0, 2, 1, 3]
    assert [p.folder for p in sweep.in_order][:2] == [
        f"seed={seed},strategy=greedy,verifier=embedded" for seed in (0, 1)
    ]


@pytest.mark.heavy
def test_points_have_folders_that_a_file_system_takes(tmp_path: Path) -> None:
    prompts = [f"engine.template={name * 60} {{question}}" for name in ("Think. ", "Answer. ")]
    both = f"{prompts[0]!r},{prompts[1]!r}".replace("engine.template=", "")
    sweep = planned(tmp_path, f"engine.template={both}", "engine.model=a/b,A/b", "verifier=none")
    folders = [p.folder for p in sweep.planned]
    assert len({folder.casefold() for folder in folders}) == 4
    assert all(len(folder.encode()) <= 140 and "/" not in folder for folder in folders)
    assert [p.folder for p in planned(tmp_path, "hydra.sweep.subdir=x/${seed}", "seed=0,1").planned] == [
        "x/0",
        "x/1",
    ]


def test_a_point_of_before_keeps_its_folder(tmp_path: Path) -> None:
    """Folders were once named after the overrides as they are."""
    arguments = ("engine.model=a/b,A/b", "verifier=none", "tracker=none")
    old = "engine.model=a/b,verifier=none"
    SweepIndex(tmp_path, []).record(["engine.model=a/b", "verifier=none"], folder=old, status=0)
    first, second = planned(tmp_path, *arguments).planned
    assert first.folder == old
    assert second.folder.startswith("engine.model=A-b,verifier=none-")


@pytest.mark.heavy
def test_a_bad_point_is_told_and_the_others_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = planned(tmp_path, "strategy=gredy,greedy,astar", "budget=0,2")
    ran: list[str] = []

    def run(arguments: list[str]) -> Status:
        ran.append(next(a for a in arguments if a.startswith("strategy=")))
        return Status.FINISHED

    assert run_sweep(sweep, run, console()) == Status.BAD_CONFIGURATION
    assert ran == ["strategy=greedy", "strategy=astar"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: [strategy=gredy budget=0] strategy=gredy: must be one of")
    assert lines[0].endswith("did you mean 'greedy'? (and 1 other points)")
    assert lines[1] == "error: [strategy=greedy budget=0] budget=0: must be 1 or more (and 1 other points)"
    assert [(e["status"], bool(e["mistake"])) for e in read_index(tmp_path)] == [
        (2, True), (2, True), (2, True), (0, False), (2, True), (0, False),
    ]  # fmt: skip


@pytest.mark.heavy
def test_what_is_wrong_with_every_point_is_one_line_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = planned(tmp_path / "new", "strategy=greedy,astar", "limits.secs=2", "seed=1,2")
    assert run_sweep(sweep, lambda _: Status.FINISHED, console()) == Status.BAD_CONFIGURATION
    assert capsys.readouterr().err == "error: limits.secs=2: unknown key; did you mean 'limits.seconds'?\n"
    assert not (tmp_path / "new").exists()


def test_a_bug_in_a_point_ends_that_point_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(arguments: list[str]) -> Status:
        if "seed=1" in arguments:
            raise RuntimeError("broken")
        return Status.FINISHED

    assert run_sweep(planned(tmp_path, "seed=0,1,2"), run, console()) == Status.SOME_ERRORS
    assert [entry["status"] for entry in read_index(tmp_path)] == [0, 1, 0]
    assert "error: [seed=1] RuntimeError: broken" in capsys.readouterr().err


def test_an_interruption_ends_the_sweep_and_the_index_tells_what_is_left(tmp_path: Path) -> None:
    statuses, shown = iter([Status.FINISHED, Status.INTERRUPTED]), console()
    assert run_sweep(planned(tmp_path, "seed=0,1,2"), lambda _: next(statuses), shown) == Status.INTERRUPTED
    assert [entry["status"] for entry in read_index(tmp_path)] == [0, 130, None]
    assert f"resume with: python run.py resume={tmp_path}\n" in shown.file.getvalue()  # type: ignore[attr-defined]
    assert sweep_folder(tmp_path / "seed=1" / "deeper") == tmp_path
    assert sweep_folder(tmp_path.parent / "elsewhere") is None


@pytest.mark.parametrize("before", [False, True])
def test_a_dry_run_leaves_a_sweep_as_it_is(tmp_path: Path, *, before: bool) -> None:
    if before:
        run_sweep(planned(tmp_path, "seed=0,1"), lambda _: Status.INTERRUPTED, console())
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shown: list[list[str]] = []

    def run(arguments: list[str]) -> Status:
        shown.append(arguments)
        return Status.FINISHED

    assert run_sweep(planned(tmp_path, "seed=0,1", "dry_run=true"), run, console()) == Status.FINISHED
    assert len(shown) == 2 and all("dry_run=true" in arguments for arguments in shown)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_a_dry_point_among_others_has_not_run(tmp_path: Path) -> None:
    run_sweep(planned(tmp_path, "dry_run=true,false"), lambda _: Status.FINISHED, console())
    assert [entry["status"] for entry in read_index(tmp_path)] == [None, 0]


def test_an_interruption_ends_a_dry_run(tmp_path: Path) -> None:
    statuses = iter([Status.FINISHED, Status.INTERRUPTED])
    sweep = planned(tmp_path, "seed=0,1,2", "dry_run=true")
    assert run_sweep(sweep, lambda _: next(statuses), console()) == Status.INTERRUPTED
    assert (
        run_sweep(sweep, lambda _: next(statuses), console(), lambda: Status.TERMINATED) == Status.TERMINATED
    )


@pytest.mark.heavy
def test_a_signal_that_a_finished_point_has_met_ends_the_sweep(tmp_path: Path) -> None:
    """Its last problems ended in the grace, so its own status tells nothing."""
    ran: list[int] = []

    def run(arguments: list[str]) -> Status:
        ran.append(1)
        return Status.FINISHED

    def interrupted() -> Status | None:
        return Status.TERMINATED if len(ran) == 2 else None

    shown = console()
    assert run_sweep(planned(tmp_path, "seed=0,1,2"), run, shown, interrupted) == Status.TERMINATED
    assert [entry["status"] for entry in read_index(tmp_path)] == [0, 0, None]
    assert "resume with" in shown.file.getvalue()  # type: ignore[attr-defined]
    ran.clear()
    assert run_sweep(planned(tmp_path, "seed=0,1"), run, console(), interrupted) == Status.FINISHED


@pytest.mark.heavy
def test_ctrl_c_while_models_are_loaded_ends_the_sweep(tmp_path: Path) -> None:
    def run(arguments: list[str]) -> Status:
        raise KeyboardInterrupt

    assert run_sweep(planned(tmp_path, "seed=0,1"), run, console()) == Status.INTERRUPTED
    assert [entry["status"] for entry in read_index(tmp_path)] == [130, None]


@pytest.mark.heavy
def test_what_an_earlier_sweep_has_finished_stands_until_it_is_run_again(tmp_path: Path) -> None:
    run_sweep(planned(tmp_path, "seed=0,1", "budget=0,2"), lambda _: Status.SOME_ERRORS, console())
    again = planned(tmp_path, "seed=0,1", "budget=2,4")
    assert run_sweep(again, lambda _: Status.INTERRUPTED, console()) == Status.INTERRUPTED
    kept = {entry["folder"]: entry["status"] for entry in read_index(tmp_path) if entry["folder"]}
    assert list(kept.values()) == [130, 1, None, None]


@pytest.mark.heavy
def test_two_sweeps_do_not_share_a_folder(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "seed=0,1")
    with claimed(tmp_path), pytest.raises(ConfigError, match="another process is at work in it"):
        run_sweep(sweep, lambda _: Status.FINISHED, console())
    assert read_index(tmp_path) == []


def test_a_full_disk_ends_a_sweep_and_is_no_mistake_of_its_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(arguments: list[str]) -> Status:
        monkeypatch.setattr(SweepIndex, "record", full)
        return Status.FINISHED

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "points.json")

    assert run_sweep(planned(tmp_path, "seed=0,1"), run, console()) == Status.SOME_ERRORS
    assert capsys.readouterr().err.startswith("error: [Errno 28] No space left on device: 'points.json'")


@pytest.mark.heavy
@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"points": 3}', '{"points": [{"folder": 1}]}', '{"points": [[]]}']
)
def test_a_damaged_index_and_damaged_summaries_hinder_no_sweep(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = planned(tmp_path, "seed=0,1")
    for point in sweep.planned:
        (tmp_path / point.folder).mkdir()
        (tmp_path / point.folder / "summary.json").write_text(text)
    (tmp_path / INDEX).write_text(text)
    assert run_sweep(sweep, lambda _: Status.FINISHED, console()) == Status.FINISHED
    assert [entry["status"] for entry in read_index(tmp_path)] == [0, 0]
    assert caplog.text.count("is damaged, or was not written by Murmuration") == 3


@pytest.mark.heavy
def test_two_points_in_one_folder_are_refused(tmp_path: Path) -> None:
    sweep = planned(tmp_path, "seed=0,1", "hydra.sweep.subdir=same")
    first, second = sweep.outcomes
    assert isinstance(first, PlannedPoint) and first.folder == "same"
    assert second == RefusedPoint(second.point, "hydra.sweep.subdir=same: another point has this folder")
    numbered = planned(tmp_path, "seed=0,1", "hydra.sweep.subdir=${hydra.job.num}")
    assert [p.folder for p in numbered.planned] == ["0", "1"]


@pytest.mark.heavy
def test_a_sweep_of_a_file_and_globs(tmp_path: Path) -> None:
    table = tmp_path / "conf" / "table" / "mine.yaml"
    table.parent.mkdir(parents=True)
    table.write_text("# @package _global_\nhydra: {sweeper: {params: {budget: '2,4'}}}\n")
    arguments = [
        "--config-dir",
        str(tmp_path / "conf"),
        "+table=mine",
        "strategy=glob(particle_*,exclude=*gibbs)",
    ]
    assert [p.point.varied for p in planned(tmp_path, *arguments).planned] == [
        (f"budget={budget}", f"strategy=particle_{name}")
        for budget in (2, 4)
        for name in ("cascade", "filter")
    ]


@pytest.mark.heavy
def test_a_sweep_goes_on_by_its_directory(tmp_path: Path) -> None:
    command = ["seed=0,1", "tracker=none"]
    run_sweep(planned(tmp_path, *command), lambda _: Status.INTERRUPTED, console())
    again = folder_names(continued_command([f"resume={tmp_path}", "budget=4"]))
    assert is_sweep(again)
    sweep = plan_sweep(again, models_of)
    assert sweep.folder == tmp_path
    assert [p.folder for p in sweep.planned] == ["budget=4,seed=0", "budget=4,seed=1"]
    assert "resume=true" in sweep.arguments(sweep.planned[0])
    assert json.loads((tmp_path / "command.json").read_text())["sweep"] is True


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "seed=1,2"], True),
        (["seed=1,2", "--multirun", "--config-dir", "mine"], True),
        (["seed=1"], False),
        (["-m", "--cfg", "job"], False),
        (["-m", "--help"], False),
        (["-m", "seed=1,2", "hydra/launcher=joblib"], False),
        (["-m", "hydra/sweeper=optuna"], False),
    ],
)
def test_other_sweepers_stay_hydras(arguments: list[str], expected: bool) -> None:
    assert is_sweep(arguments) is expected
