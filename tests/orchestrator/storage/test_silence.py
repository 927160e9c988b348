"""What was not answered is counted, and said with the key to change."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.observe.progress import summary_table, sweep_table
from orchestrator.observe.wandb_tracker import flattened
from orchestrator.report.page import write_report
from orchestrator.storage.run_files import SUMMARY
from orchestrator.storage.silence import Lengths, Silence, advice, silence_rows
from orchestrator.storage.totals import Totals, finished_summary
from orchestrator.types import Finish, Step, Trajectory
from tests.orchestrator.report.made_runs import candidate, line, write_run

WHOLE, STEPS = Lengths(call=8), Lengths(call=4, max_steps=2)


def trajectory(*steps: tuple[int, Finish]) -> Trajectory:
    return Trajectory(tuple(Step("x", tuple(range(n)), finish=finish) for n, finish in steps))


@pytest.mark.parametrize(
    ("lengths", "steps", "stopped_by", "by"),
    [
        (WHOLE, [(3, Finish.EOS)], None, None),
        (STEPS, [(4, Finish.STEP), (4, Finish.ANSWER)], None, None),
        (WHOLE, [(8, Finish.LENGTH)], None, "task.max_tokens"),
        (WHOLE, [(3, Finish.STEP), (5, Finish.LENGTH)], None, "task.max_tokens"),
        (WHOLE, [(5, Finish.LENGTH)], None, "engine.max_context"),
        (WHOLE, [(5, Finish.LENGTH)], "generated_tokens", "limits.generated_tokens"),
        (WHOLE, [], "seconds", "limits.seconds"),
        (STEPS, [(1, Finish.STEP), (4, Finish.LENGTH)], None, "task.max_step_tokens"),
        (STEPS, [(4, Finish.STEP), (1, Finish.LENGTH)], None, "engine.max_context"),
        (STEPS, [(1, Finish.STEP), (1, Finish.STEP)], None, "task.max_steps"),
        (STEPS, [(1, Finish.STEP)], "reward_calls", "limits.reward_calls"),
        (STEPS, [(1, Finish.STEP)], None, "search"),
        (Lengths(), [(1, Finish.LENGTH)], None, "task.max_tokens"),
    ],
)
def test_what_has_cut_a_trajectory_off(
    lengths: Lengths, steps: list[tuple[int, Finish]], stopped_by: str | None, by: str | None
) -> None:
    assert lengths.cut_off_by(trajectory(*steps), stopped_by) == by


def test_lengths_of_a_configuration() -> None:
    whole = {"strategy": {"sampling": {"max_tokens": 30}}, "task": {"max_tokens": 30, "answer_in": ["box"]}}
    assert Lengths.from_config(whole) == Lengths(30, None, reads=True)
    assert Lengths.from_config({"strategy": {"max_tokens": 9}, "task": {}}) == Lengths(9)
    steps = {"strategy": {"max_steps": 5, "sampling": {"max_tokens": 7}}, "task": {}}
    assert Lengths.from_config(steps) == Lengths(7, 5)


CUT = candidate(None, finished=False, cut_off="task.max_tokens")
OLD_CUT = candidate(None, finished=False)
LEFT = candidate(None, finished=False, cut_off="search")
MUTE = candidate(None)


def counted(*lines: Mapping[str, Any]) -> dict[str, Any]:
    silence = Silence()
    for each in lines:
        silence.add(each)
    return silence.summary()


def test_counts() -> None:
    none = {"problems": 0, "candidates": 0}
    assert counted(line("a", True, candidates=[candidate("1"), LEFT])) == {
        "num_candidates": 2, "unanswered": none, "cut_off": {**none, "by": {}},
    }  # fmt: skip
    assert counted(
        line("a", True, candidates=[candidate("1"), CUT, MUTE]),
        line("b", False, answer=None, candidates=[OLD_CUT, MUTE]),
        line("c", False, answer=None, candidates=[MUTE]),
        line("d", False, answer=None, candidates=[], answer_index=None, stopped_by="seconds"),
        line("e", False, answer=None, candidates=[], answer_index=None),
        line("f", False, answer=None, candidates=[], error={"type": "EngineError", "message": "x"}),
    ) == {
        "num_candidates": 6,
        "unanswered": {"problems": 2, "candidates": 3},
        "cut_off": {"problems": 2, "candidates": 2, "by": {"task.max_tokens": 2, "limits.seconds": 1}},
    }


def test_what_to_change() -> None:
    summary = counted(line("a", False, answer=None, candidates=[CUT, MUTE]))
    assert advice(summary, Lengths(reads=True)) == {
        "cut_off": "raise task.max_tokens",
        "unanswered": "see task.answer_in, and what the prompt asks for (task/prompt)",
    }
    assert set(advice(summary, Lengths())) == {"cut_off"}, "no key that the task has not"
    assert advice(counted(line("a", True)), Lengths(reads=True)) == {}


def shown(table: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_table_sweep_report_and_tracker_say_it(tmp_path: Path) -> None:
    lines = [line("a", True), line("b", False, answer=None, candidates=[CUT, MUTE])]
    run = write_run(tmp_path / "run", lines)
    summary = json.loads((run / SUMMARY).read_text())
    summary["advice"] = advice(summary, Lengths())
    (run / SUMMARY).write_text(json.dumps(summary))
    said = "1 of 2 problems, 1 of 3 candidates: raise task.max_tokens"
    assert silence_rows(summary) == [
        ("cut off", said),
        ("no answer read", "0 of 2 problems, 1 of 3 candidates"),
    ]
    assert said in shown(summary_table(summary))
    assert f"cut off: {said}" in write_report(tmp_path, tmp_path / "out", 1e6).read_text()
    assert "cut off" in shown(sweep_table([(["seed=0"], summary)]))
    assert "unanswered" not in shown(sweep_table([(["seed=0"], summary)]))
    assert flattened(summary)["cut_off.by.task.max_tokens"] == 1


def test_nothing_is_said_where_all_is_well(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [line("a", True)])
    summary = json.loads((run / SUMMARY).read_text())
    assert "cut off" not in shown(summary_table(summary)) + shown(sweep_table([(["seed=0"], summary)]))
    assert "cut off" not in write_report(tmp_path, tmp_path / "out", 1e6).read_text()


def test_a_summary_of_an_older_release_is_still_finished(tmp_path: Path) -> None:
    totals = Totals()
    totals.add(line("a", True))
    old = {k: v for k, v in totals.summary().items() if k not in ("num_candidates", "unanswered", "cut_off")}
    (tmp_path / SUMMARY).write_text(json.dumps({"complete": True, **old}))
    assert finished_summary(tmp_path, totals) is not None
    (tmp_path / SUMMARY).write_text(json.dumps({"complete": True, **old, "num_candidates": 2}))
    assert finished_summary(tmp_path, totals) is None
