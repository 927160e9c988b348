"""The commands of docs/saturation.md and docs/calibration.md, the walk of docs/adaptive.md, README's table.

The commands run in small; the table is that of the default run itself.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.calibrate.__main__ import main as calibrate
from orchestrator.planning.command import main as allocation
from orchestrator.replay.__main__ import main as replay
from orchestrator.report.__main__ import main as report
from orchestrator.runs.main import main as run
from orchestrator.saturation.__main__ import main as saturation
from tests.test_documented_commands import documented
from tests.test_house import ROOT

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(300)]

TOOLS: dict[str, Callable[[list[str]], int]] = {
    "orchestrator.saturation": saturation,
    "orchestrator.calibrate": calibrate,
    "orchestrator.allocation": allocation,
    "orchestrator.replay": replay,
    "orchestrator.report": report,
}
# Rows of the table of a run that differ from one machine or moment to another.
CHANGING = {"wall time", "tokens a second", "prompt tokens from cache"}
SMALLER = {"task.limit=200": "task.limit=6", "budget=64": "budget=8", "budget=16": "budget=8"}


def execute(line: str) -> int:
    """A command in this process, with fewer problems and samples and without Ray."""
    words = [SMALLER.get(word, word) for word in shlex.split(line)]
    if words[1] == "-m":
        return TOOLS[words[2]](words[3:])
    return int(run([*words[2:], "cluster=inprocess", "tracker=none"]))


@pytest.mark.timeout(600)
def test_the_walk_of_adaptive_compute_ends_in_a_report_that_shows_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pilot, saturation, calibration, what-ifs, a plan, a stop and grants."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "adaptive.md").read_text(encoding="utf-8")
    (tmp_path / "walk.md").write_text(text.partition("\n## One walk\n")[2].partition("\n## ")[0])
    lines = list(documented(tmp_path / "walk.md"))
    assert len(lines) == 10
    for line in lines:
        assert execute(line) == 0, line
    page = (tmp_path / "walk" / "report.html").read_text()
    shown = ("Saturation and bounds", "Reliability of the last reward", "Accuracy against sequential tokens",
             "stop.at=0.9", "gain, cross-validated", "Samples by problem", "allocator=rounds")  # fmt: skip
    assert [name for name in shown if name not in page] == []
    assert {path.stem.rpartition("-")[2] for path in (tmp_path / "walk" / "figures").iterdir()} >= {
        "saturation", "surface", "reliability", "accuracy_sequential_tokens",
    }  # fmt: skip


@pytest.mark.parametrize(("page", "num_commands"), [("saturation", 6), ("calibration", 3)])
def test_the_commands_of_a_page_follow_each_other(
    page: str, num_commands: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = documented(ROOT / "docs" / f"{page}.md")
    lines = [c for c in found if c.startswith("python ") and "tests.bench" not in c]
    assert len(lines) == num_commands
    for line in lines:
        assert execute(line) == 0, line
    last = next(p for p in (tmp_path / "outputs").iterdir())
    summary = json.loads((last / "summary.json").read_text())
    assert (summary["complete"], summary["num_problems"], summary["num_errors"]) == (True, 6, 0)
    assert report([str(tmp_path)]) == 0
    shown = (tmp_path / "report.html").read_text()
    assert re.search("Saturation and bounds.*Calibration of the rewards", shown, re.DOTALL)


def rows_of(text: str) -> list[tuple[str, str]]:
    """The rows of the first table of a run in a text."""
    return re.findall(r"^│ (.+?) +│ (.+?) +│$", text.partition("└")[0], re.MULTILINE)


def test_the_table_of_the_readme_is_that_of_the_default_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Ray, which changes no answer (tests/actors/pool/test_inprocess.py)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    stated = text.partition("\n## What a run prints\n")[2]
    assert execute(f"python run.py run_dir={tmp_path / 'run'}") == 0
    printed = capsys.readouterr().out
    assert stated.splitlines()[4].strip() == printed.splitlines()[0].strip()
    rows, own = rows_of(stated), rows_of(printed)
    assert [name for name, _ in rows] == [name for name, _ in own] and len(rows) == 11
    assert [row for row in rows if row[0] not in CHANGING] == [row for row in own if row[0] not in CHANGING]
