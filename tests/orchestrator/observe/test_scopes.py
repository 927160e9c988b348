"""Several runs at work in one process: each has its own events, and what they share comes to all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from contextvars import Context, copy_context
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from orchestrator import TextEngine, TextTask, solve_many
from orchestrator.emit import emit
from orchestrator.observe.events import EVENTS, recorded
from orchestrator.observe.scopes import apart, own_scope
from strategies import SelfConsistency


def named(run_dir: Path, name: str = "x") -> list[int]:
    """Return the numbers of the events of this name in a directory's file."""
    lines = [json.loads(line) for line in (run_dir / EVENTS).read_text().splitlines()]
    return [line["n"] for line in lines if line["event"] == name]


def problems_in(run_dir: Path) -> tuple[list[str], set[str]]:
    """Return the names of the events in a directory's file, and the problems that they name."""
    lines = [json.loads(line) for line in (run_dir / EVENTS).read_text().splitlines()]
    return [line["event"] for line in lines], {line["problem"] for line in lines if "problem" in line}


def solved(problems: list[str], run_dir: Path | None, **how: Any) -> AsyncGenerator[Any, None]:
    async def propose(question: str, written: str, *, seed: int, params: Any) -> str:
        await asyncio.sleep(0)
        return "#1"

    parts = {"strategy": SelfConsistency(2), "engine": TextEngine(propose), "task": TextTask("#")}
    return solve_many(problems, run_dir=run_dir, concurrency=1, **parts, **how)


async def all_of(problems: list[str], run_dir: Path | None) -> list[str]:
    return [result.problem.id async for result in solved(problems, run_dir)]


def whole(num_problems: int) -> list[str]:
    return ["run_started", *["problem_started", "problem_finished"] * num_problems, "run_finished"]


async def test_calls_at_once_have_their_own_events(tmp_path: Path) -> None:
    """One ends before the other, and a third keeps no files."""
    level = logging.getLogger("orchestrator").level
    short, long, _ = await asyncio.gather(
        all_of(["a"], tmp_path / "a"), all_of(["b", "c", "d"], tmp_path / "b"), all_of(["e", "f"], None)
    )
    assert problems_in(tmp_path / "a") == (whole(1), set(short))
    assert problems_in(tmp_path / "b") == (whole(3), set(long))
    assert logging.getLogger("orchestrator").level == level
    assert logging.getLogger("orchestrator").handlers == []


async def test_calls_that_one_task_reads_by_turns_have_their_own_events(tmp_path: Path) -> None:
    """What the caller reports itself between two results is of neither."""
    first, second = solved(["a", "b"], tmp_path / "a"), solved(["c", "d"], tmp_path / "b")
    ids: tuple[set[str], set[str]] = (set(), set())
    async with aclosing(first), aclosing(second):
        for n in range(2):
            ids[0].add((await anext(first)).problem.id)
            ids[1].add((await anext(second)).problem.id)
            emit("x", "x", n=n)
        assert await anext(first, None) is await anext(second, None) is None
    for run_dir, own in zip((tmp_path / "a", tmp_path / "b"), ids, strict=True):
        events, problems = problems_in(run_dir)
        assert ([event for event in events if event != "x"], problems) == (whole(2), own)
        assert named(run_dir) == [0, 1]


def test_what_is_of_no_run_at_work_comes_to_all(tmp_path: Path) -> None:
    """Such as of a thread, or of a task that a run has left behind."""
    runs = [tmp_path / name for name in "ab"]
    for run_dir in runs:
        run_dir.mkdir()
    with own_scope():
        of_ended = copy_context()
    with recorded(runs[0], "info"), recorded(runs[1], "info"):
        emit("x", "its own", n=0)
        Context().run(emit, "x", "no run", n=1)
        of_ended.run(emit, "x", "a run that has ended", n=2)
        thread = Thread(target=lambda: emit("x", "a thread", n=3))
        thread.start()
        thread.join()
        with own_scope():
            emit("x", "another run without a file", n=4)
    assert [named(run_dir) for run_dir in runs] == [[1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("levels", [("info", "debug"), ("debug", "info"), ("none", "error")])
def test_a_warning_is_shown_once_however_many_runs_are_at_work(
    levels: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The level is the lowest of those at work, and after the last what it was before."""
    log = logging.getLogger("orchestrator.somewhere")
    before = log.getEffectiveLevel()
    with recorded(tmp_path, levels[0]):
        alone = log.getEffectiveLevel()
        with recorded(tmp_path, levels[1]):
            both = log.getEffectiveLevel()
            log.warning("beware")
        assert log.getEffectiveLevel() == alone >= both
    assert log.getEffectiveLevel() == before
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_a_generator_apart_is_closed_and_fails_as_itself() -> None:
    ends: list[str] = []

    async def counting(fails: bool) -> AsyncGenerator[int, None]:
        try:
            yield 1
            if fails:
                raise ValueError("no")
            await asyncio.sleep(60)
            yield 2
        except BaseException as end:
            ends.append(type(end).__name__)
            raise

    async for _ in (closed := apart(counting(fails=False))):
        break
    await closed.aclose()
    with pytest.raises(ValueError, match="no"):
        [number async for number in apart(counting(fails=True))]
    task = asyncio.ensure_future(_last(apart(counting(fails=False))))
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["GeneratorExit", "ValueError", "CancelledError"]


async def _last(numbers: AsyncGenerator[int, None]) -> int:
    return [number async for number in numbers][-1]
