"""Problems from the rows of a dataset: their fields, their prompts and their grading."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from annotated_types import Gt, Le, MinLen

from orchestrator.errors import ConfigError
from orchestrator.prompts.fields import template_fields
from orchestrator.schema import NotEmpty, Words, checked
from orchestrator.stated.answer import AnswerPlace, find_answer
from orchestrator.steps.rule import BY_DELIMITER, StepRule
from orchestrator.tasks.choices import Choices
from orchestrator.tasks.grading.graders import AnswerKind, Grader, make_grader
from orchestrator.tasks.grading.pool import shared_pool
from orchestrator.tasks.ids import first_twice, readable_ids
from orchestrator.tasks.json_rows import Row
from orchestrator.tasks.rows import Source, field_of, place_of, read_rows, text_of
from orchestrator.types import Problem


@dataclass(frozen=True)
@checked("task")
class DatasetTask:
    """Rows as problems (``conf/task/dataset.yaml`` says what each field means).

    Rows are read when they are first needed. An id is ``name-`` and the row's id, or its index in the data:
    it depends neither on what is solved nor on the seed.
    """

    name: NotEmpty
    path: NotEmpty
    prompt_field: str
    answer_field: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    id_field: str | None = None
    metadata_fields: Sequence[str] = ()
    answer_after: Annotated[
        str | None, MinLen(1), Words("must not be empty; null takes all of the field")
    ] = None
    choices: Choices | None = None
    question_template: str = "{question}"
    instruction: str = ""
    delimiter: NotEmpty = "\n\n"
    step: StepRule = BY_DELIMITER
    answer_marker: str | None = None
    answer_kind: AnswerKind = "math"
    answer_in: Annotated[Sequence[AnswerPlace], MinLen(1), Words("must not be empty")] = ("box",)
    num_graders: Annotated[int, Gt(0)] = 2
    grading_seconds: Annotated[float, Gt(0), Le(3600), Words("must be above 0, and at most 3600")] = 3.0

    def __post_init__(self) -> None:
        if re.search(r"\\n(?![a-z])", self.delimiter):
            allowed = "holds a backslash and an n: no step would ever end; write a line break"
            raise ConfigError("task.delimiter", repr(self.delimiter), allowed)
        marker, ends = self.answer_marker or "", self.step.ends(self.delimiter)
        if ends.delimiter is not None and self.delimiter in marker.removesuffix(self.delimiter):
            allowed = f"must not continue after task.delimiter={self.delimiter!r}: no step would hold it"
            raise ConfigError("task.answer_marker", repr(marker), allowed)
        self.step.check_beside(self.delimiter, self.answer_marker)
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
        pool = shared_pool(self.num_graders, self.grading_seconds)
        return make_grader(self.answer_kind, pool, lambda: self._made[1])

    @property
    def _problems(self) -> tuple[Problem, ...]:
        return self._made[0]

    @cached_property
    def _made(self) -> tuple[tuple[Problem, ...], int]:
        """The problems, and the most options that one of them has."""
        rows = read_rows(Source(self.path, self.subset, self.split, self.revision))
        ids = self._ids(rows)
        made = [self._problem(row, own_id) for row, own_id in zip(rows, ids, strict=True)]
        problems = tuple(problem for problem, _ in filter(None, made))
        if not problems:
            raise ConfigError("task.path", self.path, "no row makes a problem: see task.choices")
        return problems, max(num_options for _, num_options in filter(None, made))

    def _ids(self, rows: Sequence[Row]) -> Sequence[str]:
        if self.id_field is None:
            return [str(index) for index in range(len(rows))]
        own = [text_of(row, self.id_field, "task.id_field") for row in rows]
        if (twice := first_twice(own)) is not None:
            first, second = (place_of(rows[i]) for i in twice)
            allowed = f"{first} and {second} have the same id, {own[twice[0]]!r}; null takes the index"
            raise ConfigError("task.id_field", self.id_field, allowed)
        return readable_ids(own)

    def _problem(self, row: Row, own_id: str) -> tuple[Problem, int] | None:
        """Return the problem of a row and how many options it has; None where its options cannot be made."""
        question = text_of(row, self.prompt_field, "task.prompt_field")
        stated = text_of(row, self.answer_field, "task.answer_field")
        options, num_options = "", 0
        if self.choices is not None:
            made = self.choices.options(row, field_of(row, self.answer_field, "task.answer_field"))
            if made is None:
                return None
            options, num_options = made.block, len(made.texts)
        problem = Problem(
            id=f"{self.name}-{own_id}",
            question=self.question_template.format(question=question, options=options),
            answer=made.label if self.choices is not None and made else self._reference(stated, row),
            metadata={name: field_of(row, name, "task.metadata_fields") for name in self.metadata_fields},
        )
        return problem, num_options

    def _reference(self, stated: str, row: Row) -> str:
        """Return the reference answer. Raises ConfigError where no answer could equal it."""
        if self.answer_after is not None:
            stated = stated.rpartition(self.answer_after)[2]
        reference = stated.strip()
        if self._grader.read(reference) is None:
            allowed = (
                f"{place_of(row)} has {reference!r}, which task.answer_kind={self.answer_kind} cannot read"
            )
            raise ConfigError("task.answer_field", self.answer_field, allowed)
        return reference


def _check_template(template: str, *, has_options: bool) -> None:
    fields = {"question", "options"} if has_options else {"question"}
    try:
        names = template_fields(template)
    except ValueError as failure:
        raise ConfigError("task.question_template", repr(template), str(failure)) from None
    if names != fields:
        allowed = (
            f"must hold {' and '.join(f'{{{name}}}' for name in sorted(fields))}, and nothing else in braces"
        )
        raise ConfigError("task.question_template", repr(template), allowed)
