"""What a person sees: the table, and one line a minute where there is no terminal."""

import io
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.observe.progress import (
    BackendFigures,
    ProgressDisplay,
    stdout_console,
    summary_table,
    sweep_table,
)
from orchestrator.storage.totals import Totals

REPOSITORY = Path(__file__).parents[3]
SUMMARY: dict[str, Any] = {
    "strategy": "greedy", "task": "chain", "budget": 4, "seed": 0, "num_problems": 10, "complete": True,
    "accuracy": 0.5, "accuracy_ci95": [0.2, 0.8], "pass_at_budget": 0.7, "num_errors": 1, "wall_seconds": 2.0,
    "usage": {"generated_tokens": 1000, "reward_calls": 40, "cached_tokens": 30, "prompt_tokens": 40},
    "overhead": {"retried_tokens": 5, "speculated_tokens": 0},
}  # fmt: skip


def show(**changes: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(summary_table(SUMMARY | changes))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_has_the_figures() -> None:
    text = show()
    for figure in (
        "0.500",
        "0.200 to 0.800",
        "some candidate right",
        "0.700",
        "1,000",
        "75%",
        "500",
        "2.0 s",
    ):
        assert figure in text
    assert "not complete" not in text


def test_the_figures_that_papers_quote_are_rows() -> None:
    text = show(quoted={"pass@1": 0.25, "pass@2": 0.4, "pass@1[avg-of-2]": 0.25, "majority@2": 0.375})
    assert "pass@1, 2" in text and "0.250, 0.400" in text
    assert "pass@1[avg-of-2]" in text and "majority@2" in text and "0.375" in text
    assert "pass@" not in show()


def test_a_strategy_that_revises_shows_f_and_b() -> None:
    share = {"value": 0.25, "low": 0.125, "high": 0.5, "num_attempts": 1200}
    text = show(revised={"accuracies": [share, {**share, "value": 0.5}], "mends": share, "breaks": None})
    assert "0.250 → 0.500" in text
    assert re.search(r"\(f\)\s+\S\s+0\.250  \(95 % interval 0\.125 to 0\.500\) of 1,200 revisions", text)
    assert re.search(r"\(b\)\s+\S\s+-  \(0 revisions\)", text)
    assert "iteration" not in show()


def test_several_policies_have_a_row_each_and_prices_one() -> None:
    usage = {"generated_tokens": 1200, "prompt_tokens": 34}
    text = show(usage_by_policy={"engine": usage, "judge": usage}, cost=1.25)
    assert "policy judge" in text and "1,200 generated, 34 read" in text
    assert re.search(r"cost\s+\S\s+1\.25", text)
    assert "policy" not in show() and "cost" not in show()


def test_it_says_whether_a_server_honours_seeds() -> None:
    assert "seeds honoured" not in show()
    assert "false: not repeatable" in show(seeds_honoured=False)
    assert "true" in show(seeds_honoured=True)


def test_an_empty_run_has_a_table_too() -> None:
    text = show(accuracy=None, pass_at_budget=None, complete=False, wall_seconds=0.0, num_problems=0)
    assert "not complete" in text


def totals(num_right: int, num_wrong: int) -> Totals:
    usage = {"generated_tokens": 7}
    line = {"error": None, "candidates": [], "usage": usage, "overhead": {}}
    totals = Totals()
    for i in range(num_right + num_wrong):
        totals.add({**line, "correct": i < num_right})
    return totals


def printed(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


class Lines(io.StringIO):
    """Says when two lines have been written."""

    def __init__(self) -> None:
        super().__init__()
        self.two = threading.Event()

    def write(self, text: str) -> int:
        length = super().write(text)
        if self.getvalue().count("\n") >= 2:
            self.two.set()
        return length


def test_a_line_a_while_without_a_terminal_though_no_problem_ends() -> None:
    file = Lines()
    console = Console(file=file, width=100, force_terminal=False)
    display = ProgressDisplay(console, 10, totals(1, 1), BackendFigures(lambda: 3), period=0.001)
    with display:
        assert file.two.wait(60)
    lines = printed(console).splitlines()
    assert lines[0].startswith(
        "2/10 problems  accuracy 0.500 [0.095, 0.905]  0 tokens/s  -:--:-- left  3 replicas  0 errors"
    )
    assert not display.is_printing  # none after the end


def test_a_quick_run_prints_nothing_without_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    with ProgressDisplay(console, 10, Totals()) as display:
        display.update()
    assert printed(console) == ""


def test_the_time_left_is_that_of_this_part_of_the_run() -> None:
    """Four of ten were done before; two more took 60 s, so four take 120 s."""
    now = [0.0]
    so_far = totals(2, 2)
    display = ProgressDisplay(Console(file=io.StringIO()), 10, so_far, clock=lambda: now[0])
    now[0] = 60.0
    for line in range(2):
        so_far.num_problems += 1
        so_far.num_errors += line
    assert "0:02:00 left  1 errors" in display.figures


def test_tokens_of_problems_that_have_not_ended_count() -> None:
    """A search may take hours: its replicas know what they have made, the results do not yet."""
    now = [0.0]
    console = Console(file=io.StringIO())
    display = ProgressDisplay(
        console, 10, totals(1, 1), BackendFigures(num_tokens=lambda: 1200), clock=lambda: now[0]
    )
    now[0] = 60.0
    assert "20 tokens/s" in display.figures
    finished = ProgressDisplay(console, 10, totals(1, 1), clock=lambda: now[0])
    now[0] = 120.0
    assert "0 tokens/s" in finished.figures  # those of an earlier part do not count


@pytest.mark.heavy
def test_a_bar_on_a_terminal_goes_on_while_no_problem_ends() -> None:
    console = Console(file=io.StringIO(), width=140, force_terminal=True)
    asked = threading.Semaphore(0)

    def replicas() -> int:
        asked.release()
        return 7

    with ProgressDisplay(console, 10, Totals(), BackendFigures(replicas)):
        for _ in range(3):  # the first at once, the others while time passes
            assert asked.acquire(timeout=60)
    assert "accuracy" in printed(console)
    assert "7 replicas" in printed(console)


def test_a_sweep_has_a_line_a_point() -> None:
    console = Console(file=io.StringIO(), width=100)
    rows = [((f"budget={budget}", "task.path=[x]"), SUMMARY | {"accuracy": budget / 10}) for budget in (4, 8)]
    console.print(sweep_table(rows))
    lines = [" ".join(line.split()) for line in printed(console).splitlines()]
    assert "budget task.path accuracy tokens rewards errors seconds tokens/s" in lines
    assert "4 [x] 0.400 [0.200, 0.800] 1,000 40 1 2.0 500" in lines
    assert "8 [x] 0.800 [0.200, 0.800] 1,000 40 1 2.0 500" in lines


def test_a_file_is_as_wide_as_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is broken over two lines is not found again; who wants it narrower says so."""
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "strategy=entropic_particle_filter"
    rows = [([name, f"task.name={'x' * 60}"], SUMMARY)]
    stdout_console().print(sweep_table(rows))
    assert "entropic_particle_filter" in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "90")
    stdout_console().print(sweep_table(rows))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 90


@pytest.mark.heavy
def test_a_run_that_nobody_reads_goes_on(tmp_path: Path) -> None:
    """``python run.py | head``: a line that finds no reader ends neither the run nor its exit status."""
    program = (
        "import pathlib, sys\n"
        "from orchestrator.observe.progress import stdout_console\n"
        "console = stdout_console()\n"
        "sys.stdin.read()\n"  # until the reader is gone
        "for _ in range(3): console.print('x\\n' * 20_000)\n"
        f"pathlib.Path({str(tmp_path / 'done')!r}).touch()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert run.stdin is not None and run.stdout is not None and run.stderr is not None
    run.stdout.close()
    run.stdin.close()
    assert run.stderr.read() == b"" and run.wait(60) == 0
    run.stderr.close()
    assert (tmp_path / "done").exists()
