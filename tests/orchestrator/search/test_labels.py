"""What a search learns of the reference answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import GradingError
from orchestrator.search.labels import is_right, reveals
from orchestrator.testing import FakeTask
from orchestrator.types import Finish, Step, Trajectory
from tests.toy import PROBLEM

TASK = FakeTask()


@pytest.mark.parametrize(
    ("answer", "text", "holds"),
    [
        ("18", "Check step 18.", True),
        ("18", "It is 180, or 3.18, or 18.5, or x18.", False),
        ("18", "so, 18.", True),
        ("70000", "it costs $70,000", True),
        ("1,234,567", "1,234,567", True),
        ("12", "of 1,2 and 12,5", True),
        ("4", "3,400", False),
        ("1/2", "not a half: 1/2!", True),
        ("a+b", "try a+b", True),
        ("Paris", "PARIS is close", True),
        ("A", "A hint: read a line again.", False),
        ("A", "Choose (A).", True),
        ("", "anything", False),
        ("18", "think\n= 1 8", True),  # as the task reads an answer
    ],
)
async def test_a_text_that_holds_the_answer(answer: str, text: str, holds: bool) -> None:
    assert await reveals(TASK, replace(PROBLEM, answer=answer), text) == holds


@pytest.mark.parametrize(
    ("text", "finish", "right"),
    [("=abca", Finish.EOS, True), ("=abca", Finish.LENGTH, False), ("=abcb", Finish.EOS, False)],
)
async def test_an_attempt_is_right_once_it_has_ended(text: str, finish: Finish, right: bool) -> None:
    assert await is_right(TASK, PROBLEM, Trajectory((Step(text, (1,), finish=finish),))) == right


async def test_a_task_that_fails_ends_one_problem() -> None:
    class Broken(FakeTask):
        def extract(self, text: str) -> str | None:
            raise RuntimeError("no")

    with pytest.raises(GradingError, match="RuntimeError: no"):
        await reveals(Broken(), PROBLEM, "x")
