"""What a search may learn of the reference answer: whether an attempt is right, and whether a text holds it.

Only a strategy that ``knows_answers`` calls these: the files of its runs are marked, as with the oracle.
"""

from __future__ import annotations

import re

from orchestrator.errors import GradingError
from orchestrator.protocols import Task
from orchestrator.types import Problem, Trajectory

_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")  # as in 70,000


async def is_right(task: Task, problem: Problem, trajectory: Trajectory) -> bool:
    """Return whether a finished trajectory states the right answer. Raises GradingError."""
    return trajectory.finished and await _is_right(task, problem, trajectory.text)


async def reveals(task: Task, problem: Problem, text: str) -> bool:
    """Return whether a text states the right answer, or holds it as a separate word. Raises GradingError.

    A single letter, as of a choice, is found in parentheses alone: "a" is a word of most texts.
    """
    answer = problem.answer.strip()
    found = rf"\({answer}\)" if len(answer) == 1 and answer.isalpha() else _word(answer)
    texts = (text, _THOUSANDS.sub("", text))
    holds = bool(answer) and any(re.search(found, each, re.IGNORECASE) for each in texts)
    return holds or await _is_right(task, problem, text)


def _word(answer: str) -> str:
    """Return the expression for a text that neither continues a word or a number nor is continued as one."""
    return rf"(?<![\w.]){re.escape(answer)}(?!\w|\.\d)"


async def _is_right(task: Task, problem: Problem, text: str) -> bool:
    try:
        answer = task.extract(text)
        return answer is not None and await task.grade(answer, problem.answer)
    except GradingError:
        raise
    except Exception as failure:  # a task is a plug-in: its failure ends one problem
        raise GradingError(f"{type(failure).__name__}: {failure}") from failure
