"""``task=stored``: the problems of a finished run or an import, read and graded as this task says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le, MinLen

from orchestrator.schema import NotEmpty, Words, checked
from orchestrator.stated.answer import AnswerPlace, find_answer
from orchestrator.steps.rule import BY_DELIMITER, StepRule
from orchestrator.stored.samples import StoredRun, read_stored
from orchestrator.tasks.grading.graders import AnswerKind, Grader, make_grader
from orchestrator.tasks.grading.pool import shared_pool
from orchestrator.types import Problem


@dataclass(frozen=True)
@checked("task")
class StoredTask:
    """The problems of a run directory (``conf/task/stored.yaml`` says what each field means).

    With ``answers="file"`` a stored sample has the answer that the run has read of it, or the tool that an
    import comes from; any other text, and every text with ``answers="text"``, is read again: from the line
    after the last ``answer_prefix``, or from ``answer_in`` where there is none.
    """

    path: NotEmpty
    answers: Literal["text", "file"] = "text"
    instruction: str = ""
    delimiter: NotEmpty = "\n\n"
    step: StepRule = BY_DELIMITER
    answer_kind: AnswerKind = "math"
    answer_in: Annotated[Sequence[AnswerPlace], MinLen(1), Words("must not be empty")] = ("box",)
    answer_prefix: NotEmpty | None = None
    num_graders: Annotated[int, Gt(0)] = 2
    grading_seconds: Annotated[float, Gt(0), Le(3600), Words("must be above 0, and at most 3600")] = 3.0

    def __post_init__(self) -> None:
        self.step.check_beside(self.delimiter)

    @property
    def answer_marker(self) -> None:
        """None: a stored sample is whole."""
        return None

    @property
    def num_problems(self) -> int:
        return len(self._run.problems)

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        end = None if limit is None else offset + limit
        return (stored.problem for stored in self._run.problems[offset:end])

    def extract(self, text: str) -> str | None:
        if self.answers == "file":
            is_known, answer = self._run.answer_of(text)
            if is_known:
                return answer
        stated = self._stated(text)
        return None if stated is None else self._grader.read(stated)

    def _stated(self, text: str) -> str | None:
        if self.answer_prefix is None:
            return find_answer(text, tuple(self.answer_in), (self.instruction,))
        _, prefix, rest = text.rpartition(self.answer_prefix)
        line = rest.strip().partition("\n")[0].strip().removesuffix(".")
        return line if prefix and line else None

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return await self._grader.keys(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return await self._grader.grade(answer, reference)

    def holding(self, run: StoredRun) -> StoredTask:
        """Return the same task with the problems of a run that is not in its directory yet."""
        task: Any = replace(self)
        vars(task)["_run"] = run
        return task  # type: ignore[no-any-return]

    @cached_property
    def _run(self) -> StoredRun:
        return read_stored(self.path, "task.path")

    @cached_property
    def _grader(self) -> Grader:
        return make_grader(self.answer_kind, shared_pool(self.num_graders, self.grading_seconds))
