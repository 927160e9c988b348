"""A task from a few arguments, for questions that have no task of their own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from orchestrator.errors import ConfigError, GradingError
from orchestrator.schema import NotEmpty, checked
from orchestrator.stated.answer import AnswerPlace, find_answer
from orchestrator.steps.rule import BY_DELIMITER, StepRule
from orchestrator.tasks.grading.graders import MathGrader
from orchestrator.tasks.grading.pool import shared_pool
from orchestrator.text.calling import Function, FunctionRaised, name_of, raised
from orchestrator.types import Problem

Question = str | tuple[str, str] | Problem
"""A question, a question with its reference answer, or a problem with an id."""

_QUESTION = "must be a text, a pair of texts (question, reference answer), or a Problem of texts"
_PLACES: tuple[AnswerPlace, ...] = ("box", "tag", "hashes")
_MAX_THREADS = 32
_NUM_GRADERS, _GRADING_SECONDS = 2, 3.0  # as conf/task/dataset.yaml has them


def problems_of(questions: Iterable[Question]) -> Iterator[Problem]:
    """Yield a problem for each question: its id is a digest of the question, with a number if it repeats.

    Raises ConfigError where two problems have one id, and for what is no question.
    """
    if isinstance(questions, str | bytes | Mapping) or not isinstance(questions, Iterable):
        raise ConfigError("problems", questions, "must be several questions, such as a list")
    seen = Counter[str]()
    for question in questions:
        made = problem_of(question)
        seen[made.id] += 1
        if seen[made.id] > 1 and made is question:
            raise ConfigError("problems", made.id, "two problems have this id")
        num = seen[made.id]
        yield made if num == 1 else Problem(f"{made.id}-{num}", made.question, made.answer, made.metadata)


def problem_of(question: Question, reference: str = "") -> Problem:
    """Return the problem of one question; the ``reference`` is for a question that is only a text.

    Raises ConfigError for anything else than texts.
    """
    match question:
        case Problem(id=str(), question=str(), answer=str()) if reference:
            raise ConfigError("reference", reference, "a Problem has its reference already: Problem.answer")
        case Problem(id=str(), question=str(), answer=str()):
            return question
        case str(text):
            answer = reference
        case [str(text), str(answer)]:
            pass
        case _:
            raise ConfigError("question", repr(question), _QUESTION)
    if not isinstance(answer, str):
        raise ConfigError("reference", repr(answer), "must be a text")
    digest = hashlib.blake2b(text.encode(errors="backslashreplace"), digest_size=4).hexdigest()
    return Problem(f"question-{digest}", text, answer)


@dataclass(frozen=True)
@checked("task")
class TextTask:
    r"""A task from a few arguments.

    ``delimiter`` ends a step, unless ``step`` says otherwise. A step with ``answer_marker`` ends the
    solution; with None only the end of the text does. ``read_answer`` reads the answer from a whole text;
    by default it is what follows the last ``answer_marker``, else what is in ``\boxed{}``, in ``<answer>``
    tags or after ``####``, else the last line. ``is_right`` compares an answer with a reference; by default
    numbers and formulas are compared by value and other texts by their words, in votes too. With ``is_right``
    equal texts alone vote together. It
    may be async, and it may block: a plain one is called in a thread. What either raises ends its problem.

    Example::

        from orchestrator import TextTask

        task = TextTask(answer_marker="####", questions=[("How much is 6 x 7?", "42")])
        assert task.extract("6 x 7 = 42\n#### 42") == "42"
    """

    delimiter: NotEmpty = "\n"
    answer_marker: NotEmpty | None = None
    instruction: str = ""
    read_answer: Callable[[str], str | None] | None = None
    is_right: Callable[[str, str], bool | Awaitable[bool]] | None = None
    questions: Sequence[Question] = field(default=(), repr=False)
    step: StepRule = BY_DELIMITER

    def __post_init__(self) -> None:
        self.step.check_beside(self.delimiter, self.answer_marker)

    @property
    def num_problems(self) -> int:
        return len(self.questions)

    def problems(self, offset: int = 0, limit: int | None = None) -> Iterator[Problem]:
        return iter(self._problems[offset : None if limit is None else offset + limit])

    def extract(self, text: str) -> str | None:
        if self.read_answer is not None:
            return _read(self.read_answer, text)
        if self.answer_marker is not None and self.answer_marker in text:
            return _found(text) or _first_line(text.rpartition(self.answer_marker)[2])
        return _found(text) or (None if self.answer_marker else _last_line(text))

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return list(answers) if self.is_right is not None else await self._grader.keys(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        if answer is None or not reference:
            return False
        if self._judge is not None:
            try:
                return bool(await self._judge(answer, reference))
            except FunctionRaised as call:
                raise GradingError(raised(self._judge.name, call.failure)) from call.failure
        return await self._grader.grade(answer, reference)

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        return tuple(problems_of(self.questions))

    @cached_property
    def _judge(self) -> Function | None:
        return None if self.is_right is None else Function(self.is_right, _MAX_THREADS)

    @cached_property
    def _grader(self) -> MathGrader:
        return MathGrader(shared_pool(_NUM_GRADERS, _GRADING_SECONDS))


def _read(read_answer: Callable[[str], str | None], text: str) -> str | None:
    """Return the answer that a user's function reads. Raises GradingError."""
    try:
        answer = read_answer(text)
    except Exception as failure:
        raise GradingError(raised(name_of(read_answer), failure)) from failure
    if answer is not None and not isinstance(answer, str):
        said = f"{name_of(read_answer)} returned {answer!r}; it must return a str or None"
        raise GradingError(said)
    return answer


def _found(text: str) -> str | None:
    return find_answer(text, _PLACES) or None


def _first_line(text: str) -> str | None:
    return next((line.strip() for line in text.splitlines() if line.strip()), None)


def _last_line(text: str) -> str | None:
    return _first_line("\n".join(reversed(text.splitlines())))
