"""``check_task`` passes the shipped tasks, and finds tasks that break a law: for each law there is one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.protocols import Task
from orchestrator.tasks.chain import ChainTask, draw_chain
from orchestrator.tasks.choices import ListedChoices
from orchestrator.tasks.countdown import CountdownTask, draw_puzzle
from orchestrator.tasks.dataset import DatasetTask
from orchestrator.tasks.twoway import TwoWayTask, draw_walk
from orchestrator.testing import TASK_LAWS, FakeTask, Law, TaskCase, check_task, hold, name_of, tasks
from orchestrator.types import Problem

Solution = Callable[[Problem], str]
ROWS = [
    {"q": f"{i} + 1?", "a": f"thus\n#### {i + 1:,}", "options": ["x", "y", "z"], "key": "ABC"[i % 3]}
    for i in range(990, 1010)
]  # fmt: skip


def spelled(problem: Problem) -> str:
    """A right solution of the fake task."""
    return "".join(f"{letter}\n" for letter in problem.answer) + f"={problem.answer}\n"


def index_of(problem: Problem) -> int:
    return int(problem.id.rpartition("-")[2])


SHIPPED: dict[str, tuple[Task, Solution]] = {
    "fake": (FakeTask(), spelled),
    "fake, of two problems": (FakeTask(num_problems=2), spelled),
    "chain": (ChainTask(), lambda p: "".join(draw_chain("test", index_of(p)).lines)),
    "countdown": (CountdownTask(), lambda p: "".join(draw_puzzle("test", index_of(p)).lines)),
    "twoway": (TwoWayTask(), lambda p: draw_walk("test", index_of(p)).solution()),
}


@pytest.mark.parametrize("name", SHIPPED)
async def test_a_shipped_task_keeps_the_laws(name: str) -> None:
    task, solution = SHIPPED[name]
    await check_task(task, solution=solution)


@pytest.mark.parametrize(
    ("knobs", "num_samples"),
    [
        ({"answer_field": "a", "answer_after": "####", "answer_kind": "integer"}, 20),
        (
            {
                "answer_field": "key",
                "answer_kind": "choice",
                "choices": ListedChoices("options"),
                "question_template": "{question}\n{options}",
                "answer_marker": "\\boxed{",
            },
            6,
        ),
    ],
    ids=["integers", "choices"],
)
async def test_rows_as_a_task_keep_the_laws(tmp_path: Path, knobs: Any, num_samples: int) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    task = DatasetTask(name="rows", path=str(path), prompt_field="q", **knobs)
    await check_task(task, solution=lambda p: f"So.\n\n\\boxed{{{p.answer}}}", num_samples=num_samples)


class Question(str):
    """A text that carries something else."""

    __slots__ = ("answer",)


@dataclass(frozen=True)
class Broken(FakeTask):
    """A fake whose problems, readings, keys or grades are changed on their way."""

    change: Callable[[Problem], Problem] = lambda p: p
    read: Callable[[str | None], str | None] = lambda a: a
    key: Callable[[Sequence[str | None], int], str | None] = lambda answers, i: answers[i]
    verdict: Callable[[str | None, str], bool] = lambda answer, reference: answer == reference
    most: int | None = None

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        return map(self.change, super().problems(offset, self.most if limit is None else limit))

    def extract(self, text: str) -> str | None:
        return self.read(super().extract(text))

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return [self.key(answers, i) for i in range(len(answers))]

    async def grade(self, answer: str | None, reference: str) -> bool:
        return self.verdict(answer, reference)


def numbered() -> Callable[[Problem], Problem]:
    """Ids that count how often a problem was asked for."""
    seen: list[Problem] = []

    def change(problem: Problem) -> Problem:
        seen.append(problem)
        return replace(problem, id=f"fake-{len(seen)}")

    return change


BROKEN: list[tuple[Law[TaskCase], Task, str]] = [
    (
        tasks.ids_are_unique_and_stable,
        Broken(change=lambda p: replace(p, id="fake")),
        "two problems have one id",
    ),
    (tasks.ids_are_unique_and_stable, Broken(change=numbered()), "differ from call to call"),
    (tasks.ids_are_unique_and_stable, Broken(num_problems=0), "the task has no problem at all"),
    (
        tasks.a_question_is_plain_text,
        Broken(change=lambda p: replace(p, question=Question(p.question))),
        "and must be a str",
    ),
    (tasks.offset_and_limit_cut_the_list_of_problems, Broken(most=0), "gave 0 of 100 problems"),
    (tasks.its_texts_are_legal, Broken(delimiter=""), "the delimiter is ''"),
    (tasks.its_texts_are_legal, Broken(answer_marker=""), "the answer_marker is ''"),
    (
        tasks.a_right_solution_states_an_answer,
        Broken(read=lambda a: None),
        "extract read None from the right",
    ),
    (tasks.a_right_solution_states_an_answer, Broken(read=lambda a: a or ""), "from an empty text"),
    (tasks.the_last_step_has_the_answer_marker, Broken(answer_marker="#"), r"state an answer by '#': \[\]"),
    (
        tasks.the_last_step_has_the_answer_marker,
        Broken(delimiter="="),
        "the last must, and it alone",
    ),
    (tasks.a_right_answer_is_graded_right, Broken(verdict=lambda a, r: False), "is graded False"),
    (tasks.no_answer_is_graded_wrong, Broken(verdict=lambda a, r: a is None or a == r), "is True"),
    (
        tasks.some_answer_is_graded_wrong,
        Broken(verdict=lambda a, r: a is not None),
        "64 pairs are graded right",
    ),
    (
        tasks.every_answer_has_one_key,
        Broken(key=lambda answers, i: answers[i] and f"{answers[i]}{len(answers)}"),
        "alone, and",
    ),
    (
        tasks.every_answer_has_one_key,
        Broken(key=lambda answers, i: answers[i] or "none"),
        "None has the key 'none'",
    ),
    (
        tasks.every_answer_has_one_key,
        Broken(key=lambda answers, i: answers[i] and f"{answers[i]}{answers[0] or answers[i]}"),
        "where the answers are reversed|among others",
    ),
    (
        tasks.equal_keys_have_equal_grades,
        Broken(key=lambda answers, i: answers[i] and "one"),
        "have the key 'one', and are graded",
    ),
]  # fmt: skip
IDS = [f"{i} {name_of(law)}" for i, (law, _, _) in enumerate(BROKEN)]


@pytest.mark.parametrize(("law", "task", "shown"), BROKEN, ids=IDS)
async def test_it_is_found(law: Law[TaskCase], task: Task, shown: str) -> None:
    with pytest.raises(AssertionError, match=rf"^{name_of(law)}: .*({shown})"):
        await hold(law, TaskCase(task, spelled))
    with pytest.raises(AssertionError):
        await check_task(task, solution=spelled)


def test_every_law_is_broken_by_one() -> None:
    assert {law for law, _, _ in BROKEN} == set(TASK_LAWS)
