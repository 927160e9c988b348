"""A run whose directory, or whose results, go away under it: it ends with a line, and is not complete."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.observe.events import EVENTS, recorded
from orchestrator.runs.execution import Status
from orchestrator.runs.sweep import run_sweep
from orchestrator.storage.results import ResultLog, read_results
from orchestrator.storage.run_files import RESULTS, SUMMARY
from orchestrator.storage.standing import DisplacedError, HeldFolder
from orchestrator.storage.sweep_index import read_index
from orchestrator.testing import FakeEngine, RandomLatency
from tests.orchestrator.runs.test_execution import CONFIG, Tripped, lines_of, make, run
from tests.orchestrator.runs.test_sweep import planned

REPOSITORY = Path(__file__).parents[3]


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def rename_parent(folder: Path) -> None:
    folder.parent.rename(folder.parent.with_name("elsewhere"))


def replace(folder: Path) -> None:
    """By a copy: all files are there, and another run's they might be."""
    shutil.copytree(folder, folder.with_name("copy"))
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)


def make_anew(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def relink(folder: Path) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to(folder.with_name("other"))
    folder.with_name("other").mkdir()


FOLDERS: list[tuple[Callable[[Path], object], str]] = [
    (shutil.rmtree, "run was deleted while the run was at work: the results in it are gone"),
    (rename, "run was moved while the run was at work: what was finished is in .*/elsewhere$"),
    (rename_parent, "run was moved while the run was at work: what was finished is in .*/elsewhere/run$"),
    (replace, "run was deleted while the run was at work"),
    (make_anew, "run was deleted while the run was at work"),
    (relink, "run was moved while the run was at work: what was finished is in .*/real$"),
]


@pytest.mark.parametrize(("strike", "message"), FOLDERS, ids=lambda x: getattr(x, "__name__", ""))
@pytest.mark.heavy
def test_a_run_directory_that_goes_away_ends_the_run(
    strike: Callable[[Path], object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_dir = tmp_path / "parent" / "run"
    run_dir.mkdir(parents=True)
    with recorded(run_dir, "info"), pytest.raises(DisplacedError, match=message):
        run(run_dir, Tripped(lambda: strike(run_dir)))
    assert not (run_dir / SUMMARY).exists()  # neither is it written into what is there now
    assert "Traceback" not in capsys.readouterr().err
    moved = next(
        (p.parent for p in tmp_path.rglob(RESULTS) if p.parent.name != "run" or p.parent != run_dir), None
    )
    if "moved" in message:  # and goes on where it is
        assert moved is not None
        before = lines_of(moved)
        assert before and run(moved) is Status.FINISHED
        assert before.items() <= lines_of(moved).items() and len(lines_of(moved)) == 12


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def copy_over(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


FILES: list[tuple[Callable[[Path], object], str]] = [
    (Path.unlink, r"results.jsonl was deleted while the run was at work: the results in it are gone"),
    (truncate, r"results.jsonl was changed by something else, to 0 bytes from \d+ bytes"),
    (copy_over, r"results.jsonl was changed by something else, to \d+ bytes from \d+ bytes"),
    (
        lambda path: path.rename(path.with_name("x")),
        "results.jsonl was moved .* what was finished is in .*/x$",
    ),
    (
        lambda path: shutil.copy(path, path.with_name("x")) and os.replace(path.with_name("x"), path),
        "was deleted",
    ),
]


@pytest.mark.parametrize(("strike", "message"), FILES)
@pytest.mark.heavy
def test_results_that_go_away_end_the_run(
    strike: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DisplacedError, match=message):
        run(tmp_path, Tripped(lambda: strike(tmp_path / RESULTS)))
    assert json.loads((tmp_path / SUMMARY).read_text())["complete"] is False
    assert run(tmp_path) is Status.FINISHED
    assert len(read_results(tmp_path)) == 12


def test_it_is_noticed_while_no_problem_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.runs.execution._LOOK_S", 0.1)
    slow = FakeEngine(latency=RandomLatency(0, 60.0))
    ask = slow.generate

    async def generate(requests: Any) -> Any:
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return await ask(requests)

    slow.generate = generate  # type: ignore[method-assign]
    (tmp_path / "run").mkdir()
    begun = time.monotonic()
    with pytest.raises(DisplacedError, match="run was deleted"):
        run(tmp_path / "run", slow)
    assert time.monotonic() - begun < 10 and not (tmp_path / "run").exists()


def test_a_directory_that_goes_after_the_last_line_is_noticed(tmp_path: Path) -> None:
    log = ResultLog(tmp_path)
    log.append({"problem_id": "a"})
    shutil.rmtree(tmp_path)
    with pytest.raises(DisplacedError, match="was deleted"):
        log.sync()
    log.close()


@pytest.mark.heavy
def test_an_unmounted_disk_is_noticed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk")
    (disk / "run").mkdir()
    with pytest.raises(DisplacedError, match=r"disk/run (is covered by|was moved|was deleted)"):
        run(disk / "run", Tripped(lambda: subprocess.run(["umount", "-l", disk], check=True)))
    assert list(disk.iterdir()) == []


@pytest.mark.heavy
def test_a_disk_that_cannot_be_written_any_more_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk")
    log = ResultLog(disk)
    log.append({"problem_id": "a"})
    log.close()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        with pytest.raises(OSError, match=r"Read-only file system: '.*results.jsonl'"):
            ResultLog(disk).append({"problem_id": "b"})
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_journal_and_events_that_are_deleted_end_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def strike() -> None:
        shutil.rmtree(tmp_path / "journal")
        (tmp_path / EVENTS).unlink()

    with recorded(tmp_path, "info"):
        assert run(tmp_path, Tripped(strike)) is Status.FINISHED
    assert len(read_results(tmp_path)) == 12 and not (tmp_path / "journal").exists()
    events = [json.loads(line)["event"] for line in (tmp_path / EVENTS).read_text().splitlines()]
    assert events[-1] == "run_finished" and "run_started" not in events
    assert capsys.readouterr().err == ""


def test_events_that_cannot_be_kept_end_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run does not begin with such a folder; this one comes later."""
    ready = make(tmp_path)
    (tmp_path / EVENTS).mkdir()
    (tmp_path / EVENTS / "x").write_text("")
    with recorded(tmp_path, "info"), asyncio.Runner() as runner:
        assert ready.execute(CONFIG, runner) is Status.FINISHED
    assert capsys.readouterr().err.count("events are left out") == 1


def test_a_held_folder_is_told_from_one_in_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    held = HeldFolder(folder)
    held.check()
    make_anew(folder)
    with pytest.raises(DisplacedError, match="a was deleted"):
        held.check()
    held.close()
    held.check()  # no more


@pytest.mark.parametrize("when", ["in a point", "a point that has ended"])
@pytest.mark.heavy
def test_a_sweeps_folder_that_goes_away_ends_it(
    when: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = planned(tmp_path / "sweep", "seed=0,1,2")
    ran: list[list[str]] = []

    def solve(arguments: list[str]) -> Status:
        ran.append(arguments)
        point = tmp_path / "sweep" / f"seed={len(ran) - 1}"
        if when == "in a point" and len(ran) == 2:
            shutil.rmtree(tmp_path / "sweep")
        elif when == "a point that has ended" and len(ran) == 3:
            shutil.rmtree(tmp_path / "sweep" / "seed=1")
        point.mkdir(parents=True)
        (point / SUMMARY).write_text("{}")
        return Status.FINISHED

    console = Console(file=io.StringIO())
    assert run_sweep(sweep, solve, console) == Status.SOME_ERRORS
    error = capsys.readouterr().err
    if when == "in a point":
        assert len(ran) == 2 and error.count("error:") == 1
        assert "sweep was deleted while the run was at work" in error
        assert read_index(tmp_path / "sweep") == []
    else:
        assert len(ran) == 3
        assert "error: [seed=1]" in error and "was deleted or moved after its point had ended" in error


@pytest.mark.slow
@pytest.mark.parametrize("strike", [shutil.rmtree, rename])
def test_run_py_says_so_in_one_line(strike: Callable[[Path], object], tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "run.py", "task.limit=200", "budget=4", f"run_dir={run_dir}"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while len(read_results(run_dir)) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    strike(run_dir)
    try:
        _, error = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 1 and not run_dir.exists()
    (line,) = [x for x in error.splitlines() if x.startswith("error:")]
    assert line.startswith(f"error: {run_dir} was ") and "Traceback" not in error
