"""Files of a run directory: whole lines, strict JSON, nothing lost."""

import errno
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.errors import EngineError
from orchestrator.outcome import Candidate, ProblemResult
from orchestrator.storage.atomic import write_json
from orchestrator.storage.result_lines import candidate_line, result_line, stored_result, trajectory_of
from orchestrator.storage.results import ResultLog, keep_finished, read_results
from orchestrator.storage.run_files import RESULTS, SUMMARY
from orchestrator.storage.totals import Totals, finished_summary
from orchestrator.types import (
    AttemptRecord,
    Denoising,
    DraftRecord,
    Finish,
    NodeRecord,
    Overhead,
    Problem,
    Record,
    Reward,
    RoleRecord,
    RoundRecord,
    Solution,
    Step,
    StepRecord,
    Trajectory,
    TrialRecord,
    Usage,
)


def make_result(
    problem_id: str = "p",
    *,
    correct: bool = True,
    error: EngineError | None = None,
    overhead: Overhead = Overhead(),
) -> ProblemResult:
    trajectory = Trajectory((Step("#7\n", (1, 2), -0.5, Reward(2.0), Finish.ANSWER),))
    solution = Solution(0, (trajectory,), (-math.inf,), (StepRecord(1, 1.0, math.nan, 1.0, 1, (0,)),))
    candidates = () if error else (Candidate(trajectory, -math.inf, "7", correct),)
    usage = Usage(generated_tokens=2, reward_calls=1)
    return ProblemResult(
        Problem(problem_id, "q", "7"), candidates, error is None, error, None, solution, usage, overhead, 0.5
    )


def test_a_line_has_every_field_and_is_strict_json() -> None:
    line = result_line(make_result(overhead=Overhead(retried_tokens=3)))
    assert list(line) == [
        "problem_id", "question", "reference", "answer", "correct", "error", "stopped_by", "candidates",
        "usage", "overhead", "seconds", "history", "answer_index",
    ]  # fmt: skip
    json.loads(json.dumps(line, allow_nan=False))
    assert line["candidates"][0]["log_weight"] is None
    assert line["candidates"][0]["reward"] == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert line["history"][0]["entropy"] is None
    assert line["overhead"]["retried_tokens"] == 3


def test_the_estimate_of_a_canvas_is_kept_where_there_is_one() -> None:
    for estimate in (None, 0.5):
        trajectory = Trajectory((Step("a", (1,), -0.5), Step("b", (2,), -1.0, one_step_nll=estimate)))
        line = candidate_line(Candidate(trajectory, 0.0, "7", False, Denoising(gen_length=4)))
        assert (line["nll"], line.get("one_step_nll", "none")) == (1.5, estimate or "none")
        assert trajectory_of(line).one_step_nll == estimate


def test_every_kind_of_record_is_read_as_it_was() -> None:
    history = (
        StepRecord(1, 1.0, 0.5, 1.0, 1, (0,), (1.0,)),
        NodeRecord(0, None, "", None, 0.0, 1.0, 0),
        RoundRecord(1, 0.5, 1.0, 2),
        AttemptRecord(0, 0, 2, (0, 1)),
        RoleRecord("critique", 2, "engine", "0f", "No error.", True, 9),
        DraftRecord(0, 3, False, 0.25, 7),
        DraftRecord(1, 1, True, None, 7),
        TrialRecord(1, "rebase", 0.25, 1.5, 0, 2),
    )
    result = make_result()
    assert result.solution is not None
    spent = {"critique": Usage(generated_tokens=9)}
    result = replace(result, solution=replace(result.solution, history=history), by_role=spent)
    by_policy = {"engine": Usage(generated_tokens=2), "draft": Usage(prompt_tokens=3)}
    result = replace(result, by_policy=by_policy, cost=1.5)
    line = json.loads(json.dumps(result_line(result)))
    stored = stored_result(line)
    assert stored.solution is not None
    assert stored.solution.history == history
    assert stored.by_role == spent
    assert (stored.by_policy, stored.cost) == (by_policy, 1.5)
    assert {type(record) for record in history} == set(get_args(Record))


def test_usage_by_policy_and_cost_add_up() -> None:
    totals = Totals()
    totals.add(result_line(make_result()))
    assert not {"usage_by_policy", "cost"} & totals.summary().keys()
    for tokens in (2, 3):
        spent = {"judge": Usage(prompt_tokens=1), "engine": Usage(generated_tokens=tokens)}
        totals.add(result_line(replace(make_result(), by_policy=spent, cost=0.25)))
    summary = totals.summary()
    assert list(summary["usage_by_policy"]) == ["engine", "judge"]
    assert summary["usage_by_policy"]["engine"]["generated_tokens"] == 5
    assert summary["cost"] == 0.5


def test_an_error_is_a_value() -> None:
    line = result_line(make_result(error=EngineError("broken")))
    assert line["error"] == {"type": "EngineError", "message": "broken"}
    assert line["answer"] is None and line["correct"] is False


def test_a_torn_last_line_is_left_out_and_mended(tmp_path: Path) -> None:
    log = ResultLog(tmp_path)
    log.append(result_line(make_result("a")))
    log.append(result_line(make_result("b")))
    log.close()
    path = tmp_path / RESULTS
    path.write_bytes(path.read_bytes()[:-10])
    inode = path.stat().st_ino
    assert [line["problem_id"] for line in read_results(tmp_path)] == ["a"]
    told: list[Any] = []
    keep_finished(tmp_path, told.append)
    assert [line["problem_id"] for line in told] == ["a"]
    assert path.stat().st_ino == inode  # in its place: there may be no room for another file
    log.append(result_line(make_result("c")))
    log.close()
    assert [line["problem_id"] for line in read_results(tmp_path)] == ["a", "c"]


def test_a_failed_write_leaves_whole_lines(tmp_path: Path) -> None:
    log = ResultLog(tmp_path)
    log.append(result_line(make_result("a")))
    real = log._file
    assert real is not None

    class Full:
        """A disk that takes five bytes more."""

        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        def write(self, data: bytes) -> int:
            return real.write(data[:5])

    log._file = Full()  # type: ignore[assignment]
    for problem_id in ("b", "c"):
        with pytest.raises(OSError, match=re.escape(str(tmp_path / RESULTS))) as failure:
            log.append(result_line(make_result(problem_id)))
        assert failure.value.errno == errno.ENOSPC
    log._file = real
    log.append(result_line(make_result("d")))
    log.close()
    assert (tmp_path / RESULTS).read_bytes().endswith(b"}\n")
    assert [line["problem_id"] for line in read_results(tmp_path)] == ["a", "d"]


def test_a_hole_costs_the_lines_in_it_and_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a machine leaves one that goes down before all was on disk."""
    log = ResultLog(tmp_path)
    for problem_id in "abc":
        log.append(result_line(make_result(problem_id)))
    log.append(result_line(make_result("d", error=EngineError("broken"))))
    log.close()
    path = tmp_path / RESULTS
    first, second, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join((first, bytes(len(second) - 1) + b"\n", *others)))
    assert [line["problem_id"] for line in read_results(tmp_path)] == ["a", "c", "d"]
    assert caplog.messages == [f"{path}: line 2 is no JSON: it is left out"]
    told: list[Any] = []
    keep_finished(tmp_path, told.append)
    assert [line["problem_id"] for line in told] == ["a", "c"]
    assert read_results(tmp_path) == told


ODD_LINES = [
    ("[1, 2]", "expected an object, got list"),
    ('"text"', "expected an object, got str"),
    ("7", "expected an object, got int"),
    ("{}", "missing required field"),
    ({"problem_id": 3}, "expected `str`, got `int` - at `\\$.problem_id`"),
    ({"correct": "yes"}, "expected `bool`"),
    ({"error": "broken"}, "expected `object \\| null`"),
    ({"candidates": None}, "expected `array`"),
    ({"candidates": [{}]}, "missing required field"),
    ({"usage": {"generated_tokens": -1}}, ">= 0"),
    ({"usage": {"generated_tokens": "9"}}, "expected `float`"),
    ({"usage": {"none_of_ours": 1}}, "missing: flops, generated_tokens, reward_calls"),
    ({"usage": {"flops": 10**400}}, "out of range|<= 1e"),
    ({"overhead": [1]}, "expected `object`"),
    ({"seconds": None}, "expected `float`"),
    ({"history": [[1]]}, "expected `object`"),
]


@pytest.mark.parametrize(("change", "reason"), ODD_LINES)
def test_a_line_of_another_shape_is_named_and_its_problem_is_open(
    change: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Foreign, edited, or with a flipped bit: neither counted nor met with a traceback."""
    good = [json.loads(json.dumps(result_line(make_result(x)))) for x in "ab"]
    odd = change if isinstance(change, str) else json.dumps({**good[0], "problem_id": "odd", **change})
    path = tmp_path / RESULTS
    path.write_text(f"{json.dumps(good[0])}\n{odd}\n{json.dumps(good[1])}\n")
    told: list[Any] = []
    keep_finished(tmp_path, told.append)
    assert told == good == read_results(tmp_path)
    (message,) = caplog.messages
    assert message.startswith(f"{path}: line 2 was not written by Murmuration: it is left out (")
    assert re.search(reason, message, re.IGNORECASE), message


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}', "[" * 100_000, "9" * 5000, "\x00", "{"])
def test_what_is_no_json_is_named(text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = json.loads(json.dumps(result_line(make_result("a"))))
    (tmp_path / RESULTS).write_text(f"{text}\n{json.dumps(good)}\n")
    told: list[Any] = []
    keep_finished(tmp_path, told.append)
    assert told == [good] and "line 1 is no JSON: it is left out" in caplog.text


def test_an_id_that_stands_twice_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first line counts, wherever the second one came from; a last line that was cut short goes too."""
    first, second = (json.loads(json.dumps(result_line(make_result("a", correct=c)))) for c in (True, False))
    other = {**first, "problem_id": "b"}
    lines = [json.dumps(x) for x in (first, second, other, first)]
    (tmp_path / RESULTS).write_text("\n".join([*lines, lines[0][:30]]))
    assert read_results(tmp_path) == [first, other]
    caplog.clear()
    told: list[Any] = []
    keep_finished(tmp_path, told.append)
    assert told == [first, other]
    assert (tmp_path / RESULTS).read_text() == f"{lines[0]}\n{lines[2]}\n"
    assert [m.partition(": ")[2] for m in caplog.messages if "second" in m] == [
        f"line {i} is a second one of problem a: it is left out" for i in (2, 4)
    ]


def test_half_a_character_ends_no_run(tmp_path: Path) -> None:
    """An escape in a question, or in what a server answers, may stand for half a surrogate pair."""
    line = result_line(make_result("half \ud83d of \u00e9"))
    log = ResultLog(tmp_path)
    log.append(line)
    log.append(result_line(make_result("whole \U0001f600")))
    log.close()
    assert read_results(tmp_path)[0] == json.loads(json.dumps(line))
    assert "whole \U0001f600".encode() in (tmp_path / RESULTS).read_bytes()
    write_json(tmp_path / "it.json", {"text": "\ud83d"})
    assert json.loads((tmp_path / "it.json").read_text()) == {"text": "\ud83d"}


def test_files_and_their_names_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    folder = tmp_path.stat().st_ino
    write_json(tmp_path / "it.json", {})
    assert synced == [(tmp_path / "it.json").stat().st_ino, folder]
    synced.clear()
    log = ResultLog(tmp_path)
    log.append(result_line(make_result("a")))
    log.close()
    results = (tmp_path / RESULTS).stat().st_ino
    assert synced == [folder, results]
    synced.clear()
    keep_finished(tmp_path, lambda line: None)  # whoever wrote it may have been killed before it was synced
    assert synced == [results]


def test_a_summary_of_other_results_is_none_of_a_finished_run(tmp_path: Path) -> None:
    totals = Totals()
    assert finished_summary(tmp_path, totals) is None
    for problem_id in "ab":
        totals.add(json.loads(json.dumps(result_line(make_result(problem_id)))))
    write_json(tmp_path / SUMMARY, {"strategy": "greedy", "complete": True, **totals.summary()})
    assert finished_summary(tmp_path, totals) == json.loads((tmp_path / SUMMARY).read_text())
    write_json(tmp_path / SUMMARY, {"complete": False, **totals.summary()})
    assert finished_summary(tmp_path, totals) is None
    write_json(tmp_path / SUMMARY, {"complete": True, **totals.summary()})
    totals.add(result_line(make_result("c")))
    assert finished_summary(tmp_path, totals) is None


def test_a_summary_of_another_release_is_of_a_finished_run_where_all_that_both_know_agrees(
    tmp_path: Path,
) -> None:
    totals = Totals()
    totals.add(json.loads(json.dumps(result_line(make_result("a")))))
    figures = {"complete": True, **totals.summary()}
    usage = {name: value for name, value in figures["usage"].items() if name != "denoising_passes"}
    for summary in ({**figures, "usage": {**usage, "later": 1}}, {**figures, "later": {"x": 1}}):
        write_json(tmp_path / SUMMARY, summary)
        assert finished_summary(tmp_path, totals) == summary
    write_json(tmp_path / SUMMARY, {**figures, "usage": {**usage, "generated_tokens": 123456}})
    assert finished_summary(tmp_path, totals) is None


def test_totals() -> None:
    totals = Totals()
    assert totals.accuracy is None
    for i, correct in enumerate((True, False, True)):
        totals.add(result_line(make_result(str(i), correct=correct, overhead=Overhead(1, 2))))
    totals.add(result_line(make_result("e", error=EngineError("x"))))
    assert (totals.num_problems, totals.num_correct, totals.num_errors) == (4, 2, 1)
    assert totals.accuracy == 0.5 and totals.pass_at_budget == 0.5
    assert totals.usage.generated_tokens == 8
    assert totals.overhead == Overhead(3, 6)


def test_write_json_refuses_nan_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": math.nan})
    assert json.loads(path.read_text()) == {"a": 1}


async def test_what_is_to_follow_a_line_follows_it_when_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is in the file at once; the journal of its problem may go only after the sync."""
    synced: list[int] = []
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", sync)
    log, followed = ResultLog(tmp_path), list[tuple[str, int]]()
    for problem_id in ("a", "b", "c"):

        def follow(problem_id: str = problem_id) -> None:
            followed.append((problem_id, synced[-1]))

        log.append(result_line(make_result(problem_id)), then=follow)
    assert [line["problem_id"] for line in read_results(tmp_path)] == ["a", "b", "c"]
    log.sync()
    assert [problem_id for problem_id, _ in followed] == ["a", "b", "c"]
    ends = [i + 1 for i, byte in enumerate((tmp_path / RESULTS).read_bytes()) if byte == ord("\n")]
    assert all(size >= end for (_, size), end in zip(followed, ends, strict=True))
    log.close()


async def test_a_disk_that_fails_at_a_sync_is_told_of_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    log, followed = ResultLog(tmp_path), list[str]()
    log.append(result_line(make_result("a")), then=lambda: followed.append("a"))
    with pytest.raises(OSError, match=re.escape(str(tmp_path / RESULTS))):
        log.sync()
    with pytest.raises(OSError, match=re.escape(str(tmp_path / RESULTS))):
        log.append(result_line(make_result("b")), then=lambda: followed.append("b"))
    log.close()
    assert followed == []
    assert [line["problem_id"] for line in read_results(tmp_path)] == ["a"]
