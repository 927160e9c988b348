"""The command line without a process of its own: what a mistake in it says takes no Ray and no torch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from orchestrator.runs.main import main


@dataclass(frozen=True)
class Done:
    """As ``subprocess.CompletedProcess`` has it."""

    returncode: int
    stdout: str
    stderr: str


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> Done:
    """``python run.py`` with these arguments, from the folder of the test."""
    capsys.readouterr()
    status = main([*arguments])
    return Done(status, *capsys.readouterr())
