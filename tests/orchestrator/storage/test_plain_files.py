"""A link or a FIFO in the place of a run directory's file is refused; nothing behind it changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.replay.__main__ import read_recorded
from orchestrator.report.page import write_report
from orchestrator.storage.appending import OpenFiles, end_line
from orchestrator.storage.atomic import write_atomically
from orchestrator.storage.plain_files import check_below, check_tree, open_to_read, replace_file
from orchestrator.storage.results import ResultLog, read_results
from orchestrator.storage.run_directory import claimed
from orchestrator.storage.sweep_index import read_index
from tests.orchestrator.report.made_runs import line, write_run

PRECIOUS = "precious\n"
# What a run writes, or takes over from an earlier part.
OWN = (
    *(
        "config.json",
        "command.json",
        "signature.json",
        "summary.json",
        "points.json",
        "wandb_run.json",
        "mlflow_run.json",
        "trackio_run.json",
        ".lock",
    ),
    *("results.jsonl", "events.jsonl", "metrics.jsonl", "journal/a.jsonl", "journal", ".hydra/config.yaml"),
    *(".hydra", "wandb", "mlruns"),
)
APPENDED = ("results.jsonl", "events.jsonl", "metrics.jsonl", "journal/a.jsonl")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text(PRECIOUS)
    return path


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def fifo(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, victim: Path) -> None:
    path.mkdir()


def claim(run_dir: Path) -> None:
    with claimed(run_dir):
        pass


@pytest.mark.parametrize("kind", [link, fifo])
@pytest.mark.parametrize("name", OWN)
def test_no_run_begins_on_such_a_file(
    tmp_path: Path, victim: Path, name: str, kind: Callable[[Path, Path], None]
) -> None:
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    kind(place, victim)
    with pytest.raises(ConfigError, match=rf"^file={place}: is a (link|FIFO), and must be a "):
        claim(tmp_path / "run")
    assert victim.read_text() == PRECIOUS


@pytest.mark.parametrize("name", APPENDED)
def test_a_file_with_a_second_name_is_not_appended_to(tmp_path: Path, victim: Path, name: str) -> None:
    place = tmp_path / "run" / name
    place.parent.mkdir(parents=True)
    os.link(victim, place)
    with pytest.raises(ConfigError, match="has 2 names"):
        claim(tmp_path / "run")


def test_the_directory_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    claim(tmp_path / "run")
    assert (tmp_path / "real" / ".lock").exists()


def test_every_way_of_writing_refuses_a_link(tmp_path: Path, victim: Path) -> None:
    place = tmp_path / "results.jsonl"
    place.symlink_to(victim)
    ways: list[Callable[[], object]] = [
        lambda: write_atomically(place, "x"),
        lambda: ResultLog(tmp_path).append({}),
        lambda: OpenFiles().append(place, b"x"),
        lambda: end_line(place),
        lambda: read_results(tmp_path),
    ]
    for way in ways:
        with pytest.raises(ConfigError, match="is a link"):
            way()
    assert victim.read_text() == PRECIOUS


def test_a_new_file_is_a_new_one(tmp_path: Path, victim: Path) -> None:
    """Whatever a folder has prepared under a name that a temporary file might have."""
    (tmp_path / "a.tmp").symlink_to(victim)
    (tmp_path / ".a.tmp").symlink_to(victim)
    replace_file(tmp_path / "a", [b"new"])
    assert (tmp_path / "a").read_bytes() == b"new" and victim.read_text() == PRECIOUS
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a.tmp", "a", "a.tmp", "victim"]


def test_reading_waits_for_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "points.json")
    with pytest.raises(ConfigError, match="is a FIFO"):
        open_to_read(tmp_path / "points.json")
    with pytest.raises(ConfigError, match="is a FIFO"):
        read_index(tmp_path)


def test_links_of_wandb_stay_inside(tmp_path: Path, victim: Path) -> None:
    run = tmp_path / "wandb" / "offline-run-1"
    run.mkdir(parents=True)
    (tmp_path / "wandb" / "latest-run").symlink_to(run.name)
    (run / "debug-core.log").symlink_to(victim)
    check_tree(tmp_path / "wandb", own_links=("debug-core.log",))
    (run / "output.log").symlink_to(victim)
    with pytest.raises(ConfigError, match=r"output\.log: is a link that leads out of its folder"):
        check_tree(tmp_path / "wandb", own_links=("debug-core.log",))


def test_a_point_of_a_sweep_lies_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "sweep" / "seed=1").symlink_to(tmp_path / "other")
    check_below(tmp_path / "sweep", "seed=0")
    for below in ("seed=1", "seed=1/x", "../other"):
        with pytest.raises(ConfigError):
            check_below(tmp_path / "sweep", below)


@pytest.mark.parametrize("name", ["report.html", "figures", "config.json", "summary.json", "results.jsonl"])
@pytest.mark.parametrize("kind", [link, fifo])
def test_a_report_neither_reads_nor_writes_through_one(
    tmp_path: Path, victim: Path, name: str, kind: Callable[[Path, Path], None]
) -> None:
    run = write_run(tmp_path / "run", [line("a", True)])
    (run / name).unlink(missing_ok=True)
    kind(run / name, victim)
    with pytest.raises(ConfigError, match=r"is a (link|FIFO)"):
        write_report(run, run, 1e6)
    assert victim.read_text() == PRECIOUS


def test_a_figure_is_not_written_through_one(tmp_path: Path, victim: Path) -> None:
    run = write_run(tmp_path / "run", [line("a", True)])
    (run / "figures").mkdir()
    (run / "figures" / "chain_engine_embedded-accuracy_n.png").symlink_to(victim)
    with pytest.raises(ConfigError, match="is a link"):
        write_report(run, run, 1e6)


@pytest.mark.parametrize("name", ["config.json", "summary.json", "results.jsonl"])
@pytest.mark.parametrize("kind", [link, fifo, folder])
def test_a_replay_reads_plain_files(
    tmp_path: Path, victim: Path, name: str, kind: Callable[[Path, Path], None]
) -> None:
    run = write_run(tmp_path / "run", [line("a", True)])
    (run / name).unlink()
    kind(run / name, victim)
    with pytest.raises(ConfigError, match=r"is a (link|FIFO|directory)"):
        read_recorded(run)


def test_a_journal_that_is_a_link_is_not_cut_short(tmp_path: Path, victim: Path) -> None:
    run = tmp_path / "run"
    (run / "journal").mkdir(parents=True)
    (run / "journal" / "p.jsonl").symlink_to(victim)
    (run / "config.json").write_text(json.dumps({}))
    with pytest.raises(ConfigError, match="is a link"):
        claim(run)
    assert victim.read_text() == PRECIOUS
