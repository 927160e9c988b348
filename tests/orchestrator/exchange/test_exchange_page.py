"""docs/exchange.md, command by command, in one folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.exchange.__main__ import main as exchange
from orchestrator.replay.__main__ import main as replay
from orchestrator.report.__main__ import main as report
from orchestrator.runs.main import main as run
from tests.orchestrator.exchange.made import summary_of, write_rows
from tests.orchestrator.exchange.test_imports import ROWS

PAGE = Path(__file__).parents[3] / "docs" / "exchange.md"
TOOLS = {"exchange": exchange, "replay": replay, "report": report}


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", "").splitlines()]


def status_of(words: list[str]) -> int:
    match words:
        case ["python", "run.py", *arguments]:
            return run(arguments)
        case ["python", "-m", module, *arguments]:
            return TOOLS[module.removeprefix("orchestrator.")](arguments)
    raise AssertionError(words)


@pytest.mark.heavy
def test_every_command_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "completions.jsonl", *ROWS)
    for words in commands():
        assert status_of(words) == 0, (words, capsys.readouterr().err)
    assert {path.name for path in tmp_path.iterdir()} >= {"theirs.json", "steps.jsonl", "pairs.jsonl"}
    theirs, vote, smallest = (summary_of(tmp_path / "runs" / name) for name in ("theirs", "vote", "smallest"))
    assert vote["accuracy"] == theirs["quoted"]["majority@4"] and smallest["num_errors"] == 0
    assert smallest["quoted"] == theirs["quoted"]
