"""The laws of a task, and ``check_task``, which holds a task to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.protocols import Task
from orchestrator.stated.answer import states_answer
from orchestrator.testing.laws import Law, hold_all, require
from orchestrator.types import Problem


@dataclass(frozen=True)
class TaskCase:
    """A task, and how a right solution of one of its problems is written. See ``check_task``."""

    task: Task
    solution: Callable[[Problem], str]
    num_samples: int = 8

    def sample(self) -> list[Problem]:
        """Return the first problems."""
        return list(self.task.problems(0, self.num_samples))

    def answers(self) -> list[str | None]:
        """Return what the task reads from a right solution of each sampled problem."""
        return [self.task.extract(self.solution(problem)) for problem in self.sample()]


async def ids_are_unique_and_stable(case: TaskCase) -> None:
    """The same problems each time, each with a question and an id."""
    problems = case.sample()
    require(bool(problems), "the task has no problem at all")
    require(problems == case.sample(), "problems(0, n) differ from call to call")
    ids = [problem.id for problem in problems]
    require(len(set(ids)) == len(ids), f"two problems have one id: {sorted(ids)}")
    for problem in problems:
        require(bool(problem.id and problem.question), f"a problem without an id or a question: {problem!r}")


async def a_question_is_plain_text(case: TaskCase) -> None:
    """Nothing but a ``str`` reaches the models, so that no answer can be in it."""
    texts = [(p.id, p.question) for p in case.sample()]
    for where, text in [*texts, ("the instruction", case.task.instruction)]:
        require(type(text) is str, f"{where}: the question or instruction is {text!r}, and must be a str")


async def offset_and_limit_cut_the_list_of_problems(case: TaskCase) -> None:
    """``problems(offset, limit)`` is a part of one list of ``num_problems`` problems."""
    task, first, num = case.task, case.sample(), case.task.num_problems
    require(len(first) == min(num, case.num_samples), f"{num} problems, and the first are {len(first)}")
    for offset, limit in ((0, 1), (1, 2), (2, 0), (0, num + 1 if num <= case.num_samples else 3)):
        found, expected = list(task.problems(offset, limit)), first[offset:][:limit]
        ids = [p.id for p in found], [p.id for p in expected]
        require(found == expected, f"problems({offset}, {limit}) gave {ids[0]}, and must give {ids[1]}")
    ends: list[tuple[int, int | None]] = [(num - 1, None), (num - 1, 5), (num, None), (num, 1)]
    for offset, most in ends:
        found = list(task.problems(offset, most))
        message = f"problems({offset}, {most}) gave {len(found)} of {num} problems"
        require(len(found) == num - offset, message)


async def its_texts_are_legal(case: TaskCase) -> None:
    delimiter, marker = case.task.delimiter, case.task.answer_marker
    require(isinstance(delimiter, str) and bool(delimiter), f"the delimiter is {delimiter!r}")
    legal = marker is None or (isinstance(marker, str) and bool(marker))
    require(legal, f"the answer_marker is {marker!r}, and must be a text or None")


async def a_right_solution_states_an_answer(case: TaskCase) -> None:
    """``extract`` reads it, and no answer from an empty text."""
    for problem, answer in zip(case.sample(), case.answers(), strict=True):
        text = case.solution(problem)
        require(isinstance(answer, str), f"extract read {answer!r} from the right solution {text!r}")
        require(case.task.extract(text) == answer, f"extract reads {text!r} differently each time")
    empty = case.task.extract("")
    require(empty is None, f"extract read {empty!r} from an empty text")


async def the_last_step_has_the_answer_marker(case: TaskCase) -> None:
    """And no step before it: a search ends at the first step that states an answer."""
    task = case.task
    if task.answer_marker is None:
        return
    for problem in case.sample():
        pieces = case.solution(problem).split(task.delimiter)
        steps = [f"{piece}{task.delimiter}" for piece in pieces[:-1]] + [p for p in pieces[-1:] if p]
        prompts = (task.instruction, problem.question)
        stating = [step for step in steps if states_answer(step, task.answer_marker, prompts)]
        message = f"of the steps {steps} these state an answer by {task.answer_marker!r}: {stating}"
        require(stating == steps[-1:], f"{message}; the last must, and it alone")


async def a_right_answer_is_graded_right(case: TaskCase) -> None:
    for problem, answer in zip(case.sample(), case.answers(), strict=True):
        right = await case.task.grade(answer, problem.answer)
        require(right is True, f"the answer {answer!r} to {problem.id} is graded {right!r}")


async def no_answer_is_graded_wrong(case: TaskCase) -> None:
    for problem in case.sample():
        right = await case.task.grade(None, problem.answer)
        require(right is False, f"grade(None, {problem.answer!r}) is {right!r}")


async def some_answer_is_graded_wrong(case: TaskCase) -> None:
    """Of all pairs of an answer and another problem's reference."""
    verdicts = [
        await case.task.grade(answer, problem.answer)
        for answer in case.answers()
        for problem in case.sample()
    ]
    require(len(verdicts) == 1 or not all(verdicts), f"all {len(verdicts)} pairs are graded right")


async def every_answer_has_one_key(case: TaskCase) -> None:
    """The same alone and beside others; None has the key None, and no answer has it."""
    answers = [*case.answers(), None]
    keys = await case.task.keys(answers)
    require(len(keys) == len(answers), f"{len(answers)} answers got {len(keys)} keys")
    require(await case.task.keys([]) == [], "no answers got a key")
    for answer, key in zip(answers, keys, strict=True):
        require((key is None) == (answer is None), f"the answer {answer!r} has the key {key!r}")
        alone = await case.task.keys([answer])
        require(alone == [key], f"the answer {answer!r} has the key {alone} alone, and {key!r} among others")
    turned = await case.task.keys(answers[::-1])
    require(turned[::-1] == keys, f"the keys {keys} become {turned[::-1]} where the answers are reversed")


async def equal_keys_have_equal_grades(case: TaskCase) -> None:
    """Answers with one key are right for the same references."""
    answers, problems = case.answers(), case.sample()
    keys = await case.task.keys(answers)
    verdicts: dict[tuple[str | None, str], tuple[str | None, bool]] = {}
    for answer, key in zip(answers, keys, strict=True):
        for problem in problems:
            right = await case.task.grade(answer, problem.answer)
            other, verdict = verdicts.setdefault((key, problem.id), (answer, right))
            message = f"{answer!r} and {other!r} have the key {key!r}, and are graded {right} and {verdict}"
            require(right == verdict, f"{message} for {problem.id}")


TASK_LAWS: tuple[Law[TaskCase], ...] = (
    ids_are_unique_and_stable,
    a_question_is_plain_text,
    offset_and_limit_cut_the_list_of_problems,
    its_texts_are_legal,
    a_right_solution_states_an_answer,
    the_last_step_has_the_answer_marker,
    a_right_answer_is_graded_right,
    no_answer_is_graded_wrong,
    some_answer_is_graded_wrong,
    every_answer_has_one_key,
    equal_keys_have_equal_grades,
)
"""In the order in which ``check_task`` checks them."""


async def check_task(task: Task, *, solution: Callable[[Problem], str], num_samples: int = 8) -> None:
    r"""Check that a task keeps what ``Task`` promises, on its first ``num_samples`` problems.

    ``solution`` returns the text of a right solution of a problem: all its steps, with their delimiters.

    Raises AssertionError that names the first law that is broken, with the values.

    Example::

        async def test_my_task():
            await check_task(MyTask(), solution=lambda problem: f"Let me think.\n#{problem.answer}\n")
    """
    await hold_all(TASK_LAWS, TaskCase(task, solution, num_samples))
