"""The commands of docs/saturation.md and docs/calibration.md, one after another, on a few problems."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.calibrate.__main__ import main as calibrate
from orchestrator.planning.command import main as allocation
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
}
SMALLER = {"task.limit=200": "task.limit=6", "budget=64": "budget=8", "budget=16": "budget=8"}


def execute(line: str) -> int:
    """A command in this process, with fewer problems and samples and without Ray."""
    words = [SMALLER.get(word, word) for word in shlex.split(line)]
    if words[1] == "-m":
        return TOOLS[words[2]](words[3:])
    return int(run([*words[2:], "cluster=inprocess", "tracker=none"]))


@pytest.mark.parametrize(("page", "num_commands"), [("saturation", 6), ("calibration", 3)])
def test_the_commands_of_a_page_follow_each_other(
    page: str, num_commands: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [c for c in documented(ROOT / "docs" / f"{page}.md") if c.startswith("python") and " " in c]
    assert len(lines) == num_commands
    for line in lines:
        assert execute(line) == 0, line
    last = next(p for p in (tmp_path / "outputs").iterdir())
    summary = json.loads((last / "summary.json").read_text())
    assert (summary["complete"], summary["num_problems"], summary["num_errors"]) == (True, 6, 0)
    assert report([str(tmp_path)]) == 0
    shown = (tmp_path / "report.html").read_text()
    assert re.search("Saturation and bounds.*Calibration of the rewards", shown, re.DOTALL)
