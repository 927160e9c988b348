"""Problems from the rows of a dataset: which fields they stand in, how they are asked and graded."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator.errors import ConfigError
from orchestrator.grading import AnswerKind, Grader, make_grader
from orchestrator.grading_pool import shared_pool
from orchestrator.stated_answer import Form, find_answer
from orchestrator.tasks.choices import Choices
from orchestrator.tasks.rows import Row, Source, field_of, read_rows
from orchestrator.types import Problem


@dataclass(frozen=True)
class DatasetTask:
    """Rows as problems (``conf/task/dataset.yaml`` tells what each field means).

    Rows are read when they are first needed. An id is ``name-`` and the row's own id, or its index in the
    data: it does not depend on what is solved, nor on the seed.
    """

    name: str
    path: str
    prompt_field: str
    answer_field: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    id_field: str | None = None
    metadata_fields: Sequence[str] = ()
    answer_after: str | None = None
    choices: Choices | None = None
    question_template: str = "{question}"
    instruction: str = ""
    delimiter: str = "\n\n"
    answer_marker: str | None = None
    answer_kind: AnswerKind = "math"
    answer_in: Sequence[Form] = ("box",)
    max_steps: int = 40
    max_step_tokens: int = 2048
    max_tokens: int = 2048
    num_graders: int = 2
    grading_seconds: float = 3.0

    def __post_init__(self) -> None:
        for key in ("max_steps", "max_step_tokens", "max_tokens", "num_graders"):
            if getattr(self, key) < 1:
                raise ConfigError(f"task.{key}", getattr(self, key), "must be a whole number above 0")
        if not 0 < self.grading_seconds <= 3600:
            raise ConfigError(
                "task.grading_seconds", self.grading_seconds, "must be above 0, and at most 3600"
            )
        for key in ("name", "path", "delimiter", "answer_in"):
            if not getattr(self, key):
                raise ConfigError(f"task.{key}", getattr(self, key), "must not be empty")
        if (self.answer_kind == "choice") != (self.choices is not None):
            raise ConfigError("task.choices", self.choices, "goes with answer_kind=choice, and only with it")
        _check_template(self.question_template, has_options=self.choices is not None)

    @property
    def num_problems(self) -> int:
        return len(self._problems)

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        end = None if limit is None else offset + limit
        return iter(self._problems[offset:end])

    def extract(self, text: str) -> str | None:
        prompts = (self.instruction, self.question_template)
        stated = find_answer(text, tuple(self.answer_in), prompts)
        return None if stated is None else self._grader.read(stated)

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return await self._grader.keys(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return await self._grader.grade(answer, reference)

    @cached_property
    def _grader(self) -> Grader:
        return make_grader(self.answer_kind, shared_pool(self.num_graders, self.grading_seconds))

    @cached_property
    def _problems(self) -> tuple[Problem, ...]:
        rows = read_rows(Source(self.path, self.subset, self.split, self.revision))
        made = [self._problem(row, index) for index, row in enumerate(rows)]
        problems = tuple(p for p in made if p is not None)
        if not problems:
            raise ConfigError("task.path", self.path, "no row makes a problem: see task.choices")
        if len({p.id for p in problems}) < len(problems):
            raise ConfigError(
                "task.id_field", self.id_field, "two rows have the same id; null takes the index"
            )
        return problems

    def _problem(self, row: Row, index: int) -> Problem | None:
        """The problem of a row, or None where its options cannot be made."""
        own_id = index if self.id_field is None else field_of(row, self.id_field, "task.id_field")
        question = str(field_of(row, self.prompt_field, "task.prompt_field")).strip()
        stated = field_of(row, self.answer_field, "task.answer_field")
        options = ""
        if self.choices is not None:
            made = self.choices.options(row, stated)
            if made is None:
                return None
            stated, options = made.letter, made.block
        return Problem(
            # Files are named after ids.
            id=f"{self.name}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', str(own_id))}",
            question=self.question_template.format(question=question, options=options),
            answer=self._reference(str(stated), index),
            metadata={name: field_of(row, name, "task.metadata_fields") for name in self.metadata_fields},
        )

    def _reference(self, stated: str, index: int) -> str:
        """The reference answer. Raises ConfigError where it could never be met."""
        if self.answer_after is not None:
            stated = stated.rpartition(self.answer_after)[2]
        reference = stated.strip()
        if self._grader.read(reference) is None:
            allowed = f"row {index} has {reference!r}, which task.answer_kind={self.answer_kind} cannot read"
            raise ConfigError("task.answer_field", self.answer_field, allowed)
        return reference


def _check_template(template: str, *, has_options: bool) -> None:
    fields = {"question", "options"} if has_options else {"question"}
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as failure:
        raise ConfigError("task.question_template", repr(template), str(failure)) from None
    if names != fields:
        allowed = (
            f"must hold {' and '.join(f'{{{name}}}' for name in sorted(fields))}, and nothing else in braces"
        )
        raise ConfigError("task.question_template", repr(template), allowed)
