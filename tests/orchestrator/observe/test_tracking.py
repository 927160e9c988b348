"""Trackers: figures as problems finish, and a failing tracker that stops nothing."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.observe import tracking
from orchestrator.observe.tracking import GuardedTracker, JsonlTracker, NoTracker, Tracker
from orchestrator.storage.totals import Totals


def make_line(problem_id: str, *, correct: bool) -> dict[str, Any]:
    record = {
        "step": 1,
        "ess": 2.5,
        "entropy": 0.9,
        "tempering": 1.0,
        "num_alive": 4,
        "ancestors": [0, 0, 1, 3],
    }
    candidate = {
        "answer": "7",
        "correct": correct,
        "reward": 0.5,
        "log_weight": None,
        "num_tokens": 3,
        "text": "7",
    }
    usage = {"generated_tokens": 7, "reward_calls": 2, "flops": 0.0}
    return {
        "problem_id": problem_id, "question": "q", "reference": "7", "answer": "7", "stopped_by": None,
        "correct": correct, "error": None, "candidates": [candidate],
        "usage": usage, "overhead": {}, "seconds": 0.5, "history": [record],
    }  # fmt: skip


def track(tracker: Tracker, run_dir: Path) -> None:
    totals = Totals()
    tracker.start(run_dir, {"budget": 4}, totals)
    for problem_id, correct in (("a", True), ("b", False)):
        line = make_line(problem_id, correct=correct)
        totals.add(line)
        tracker.problem(line)
    tracker.finish({"accuracy": 0.5})


def test_none_writes_nothing(tmp_path: Path) -> None:
    track(NoTracker(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_jsonl_has_a_line_a_problem(tmp_path: Path) -> None:
    track(JsonlTracker(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["problem_id"] for line in lines] == ["a", "b"]
    assert [line["run/accuracy"] for line in lines] == [1.0, 0.5]
    assert lines[1]["run/generated_tokens"] == 14
    assert lines[0]["smc/min_ess"] == 2.5
    assert lines[0]["smc/unique_ancestors"] == 3


def test_a_line_that_was_cut_short_takes_no_other_along(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"problem_id": "to')
    track(JsonlTracker(), tmp_path)
    torn, *lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert torn == '{"problem_id": "to' and [json.loads(line)["problem_id"] for line in lines] == ["a", "b"]


def test_a_run_that_goes_on_writes_the_lines_that_were_lost(tmp_path: Path) -> None:
    """A death between a result and its line; the line of an error is followed by one of its result."""
    lines = [make_line(problem_id, correct=problem_id != "b") for problem_id in "abc"]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    totals = Totals()
    for line in lines:
        totals.add(line)
    tracker = JsonlTracker()
    tracker.start(tmp_path, {}, Totals())
    tracker.problem(lines[0])
    tracker.problem({**lines[2], "error": {"type": "EngineError", "message": "x"}})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[1]\nrubbish\n{"problem_id": "b", "probl')
    for _ in range(2):  # the second time there is none to write
        JsonlTracker().start(tmp_path, {}, totals)
        told = [x for x in (tmp_path / "metrics.jsonl").read_text().splitlines() if x.endswith("}")]
        assert [json.loads(x)["problem_id"] for x in told] == ["a", "c", "b", "c"]
        assert [json.loads(x)["run/num_problems"] for x in told[2:]] == [2, 3]
        assert json.loads(told[2])["run/accuracy"] == 0.5


def test_a_full_disk_under_a_tracker_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "open_to_append", lambda _: os.open("/dev/full", os.O_WRONLY))
    with caplog.at_level(logging.WARNING):
        track(GuardedTracker(JsonlTracker()), tmp_path)
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text


def test_a_record_without_an_ess_is_no_obstacle(tmp_path: Path) -> None:
    line = make_line("a", correct=True)
    line["history"][0]["ess"] = None
    tracker = JsonlTracker()
    tracker.start(tmp_path, {}, Totals())
    tracker.problem(line)
    assert "smc/min_ess" not in (tmp_path / "metrics.jsonl").read_text()
    tracker.finish({})
