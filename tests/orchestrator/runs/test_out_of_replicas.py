"""When nobody is left to answer: the run stops, no problem is to blame, and all goes on where it was."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

from orchestrator.observe.events import EVENTS, recorded
from orchestrator.protocols import NO_REPLICA, Failure
from orchestrator.runs.execution import Status
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import SUMMARY
from orchestrator.testing import FakeEngine, FakeVerifier, RandomLatency
from tests.orchestrator.runs.test_execution import CONFIG, lines_of, make, run

pytestmark = pytest.mark.heavy

REPOSITORY = Path(__file__).parents[3]


class LostEngine(FakeEngine):
    """Answers some calls, and then nobody does; calls that are in flight by then still come back."""

    def __init__(self, num_answered: int) -> None:
        super().__init__(latency=RandomLatency(0, 0.02))
        self.num_left = num_answered

    async def generate(self, requests: Sequence[Any]) -> list[Any]:
        self.num_left -= 1
        if self.num_left < 0:
            return [Failure(NO_REPLICA, "engine-0 is gone")] * len(requests)
        return await super().generate(requests)


class LostVerifier(FakeVerifier):
    num_left = 30

    async def score(self, requests: Sequence[Any]) -> list[Any]:
        self.num_left -= 1
        if self.num_left < 0:  # one row of several is enough
            return [*(await super().score(requests))[1:], Failure(NO_REPLICA, "verifier-0 is gone")]
        return await super().score(requests)


@pytest.mark.parametrize("kind", ["engine", "verifier"])
def test_the_run_stops_and_no_problem_is_to_blame(kind: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert run(whole) is Status.FINISHED
    one, output = make(tmp_path / "run", LostEngine(30 if kind == "engine" else 999)), io.StringIO()
    one.console = Console(file=output, width=200)
    if kind == "verifier":
        one.controller = replace(one.controller, verifier=LostVerifier())
    begun = time.monotonic()
    with recorded(tmp_path / "run", "info"), asyncio.Runner() as runner:
        assert one.execute(CONFIG, runner) is Status.SOME_ERRORS
    assert time.monotonic() - begun < 15  # the grace, of 20 s, is not needed: nothing is in flight
    summary, lines = json.loads((tmp_path / "run" / SUMMARY).read_text()), lines_of(tmp_path / "run")
    assert summary["complete"] is False and summary["num_errors"] == 0 and 1 <= len(lines) < 8
    text = f"stopped, as no replica is left: {kind}-0 is gone; resume with: python run.py resume="
    assert text in output.getvalue()
    assert '"event":"replicas_gone"' in (tmp_path / "run" / EVENTS).read_text()
    journals = {path: path.read_bytes().count(b"\n") for path in (tmp_path / "run" / "journal").iterdir()}
    assert sum(journals.values()) > 0
    again = FakeEngine()
    assert run(tmp_path / "run", again) is Status.FINISHED
    assert lines_of(tmp_path / "run") == lines_of(whole)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_ray_that_is_killed_stops_a_run(name: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "run.py", "task.limit=400", "budget=8", "concurrency=8", f"run_dir={run_dir}"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while len(read_results(run_dir)) < 3 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        own = psutil.Process(process.pid).children(recursive=True)
        (killed,) = [p for p in own if p.cmdline() and p.cmdline()[0].endswith(f"/{name}")]
        killed.kill()
        output, error = process.communicate(timeout=110)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 1, error
    assert f"resume with: python run.py resume={run_dir}" in output and "Traceback" not in error
    lines, summary = read_results(run_dir), json.loads((run_dir / SUMMARY).read_text())
    assert 3 <= len(lines) < 400 and not any(line["error"] for line in lines)
    assert summary["complete"] is False
    deadline = time.monotonic() + 10
    while (left := [p for p in own if is_at_work(p)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def is_at_work(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
