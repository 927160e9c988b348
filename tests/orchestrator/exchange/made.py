"""Questions with samples that tests make, and runs of them on disk: no model, no process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.exchange.__main__ import main
from orchestrator.exchange.records import Question, Sample, fitted
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import SUMMARY

FILES = Path(__file__).parent / "files"


def sample(text: str, values: Sequence[float] = (), *, whole: bool = False, **fields: Any) -> Sample:
    """A sample whose steps end with a line break."""
    steps, rewards = fitted(text, values, "\n", whole=whole)
    return Sample(steps, rewards, **fields)


def question(own_id: str, *samples: Sample, reference: str = "4") -> Question:
    return Question(own_id, f"What is {own_id}?", reference, samples)


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_exchange(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What ``python -m orchestrator.exchange`` prints; it must succeed."""
    capsys.readouterr()
    status = main([str(a) for a in arguments])
    printed = capsys.readouterr()
    assert (status, printed.err) == (0, "")
    return printed.out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which it refuses its arguments, with status 2."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and printed.err.startswith("error: ")
    return printed.err.removeprefix("error: ").rstrip("\n")


def lines_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {line["problem_id"]: line for line in read_results(folder)}


def summary_of(folder: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
    return summary
