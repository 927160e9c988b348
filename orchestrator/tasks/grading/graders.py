"""When two answers are the same: integers, letters and expressions, for grading and for votes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from orchestrator.tasks.grading.forms import Form, Plain, same
from orchestrator.tasks.grading.integers import read_integer
from orchestrator.tasks.grading.labels import LETTERS, index_of, read_long_label
from orchestrator.tasks.grading.letters import read_letter
from orchestrator.tasks.grading.pool import GradingPool
from orchestrator.tasks.grading.reader import is_carried_out, rank, read_form
from orchestrator.tasks.grading.tidy import tidy

AnswerKind = Literal["math", "integer", "choice"]


class Grader(Protocol):
    """Reads and compares one kind of answer."""

    def read(self, stated: str) -> str | None:
        """Return the answer that a solution or a reference states; None where it is not of this kind."""
        ...

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        """Return keys as ``Task.keys`` does, for answers that ``read`` returned."""
        ...

    async def grade(self, answer: str | None, reference: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class IntegerGrader:
    """Whole numbers, compared as numbers."""

    def read(self, stated: str) -> str | None:
        return read_integer(stated)

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return list(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == read_integer(reference)


def _one_letter_each() -> int:
    return len(LETTERS)


@dataclass(frozen=True, slots=True)
class ChoiceGrader:
    """Labels of a multiple-choice question's options.

    ``num_options`` is the most that a question of the task has, called when an answer names a label of two
    letters: with fewer options it is not a label.
    """

    num_options: Callable[[], int] = _one_letter_each

    def read(self, stated: str) -> str | None:
        long = read_long_label(stated)
        if long is not None and index_of(long) < self.num_options():
            return long
        return read_letter(stated)

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return list(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.read(reference)


@dataclass(frozen=True)
class MathGrader:
    """Mathematical answers, compared by what they are: ``forms.same``, in grades and in votes.

    Only integrals, sums and limits are computed in the pool. One that takes too long equals only its text.
    Replies of the pool are remembered.
    """

    pool: GradingPool
    _carried_out: dict[str, Form] = field(default_factory=dict, init=False, repr=False)

    def read(self, stated: str) -> str | None:
        return stated if tidy(stated) else None

    async def grade(self, answer: str | None, reference: str) -> bool:
        return answer is not None and same(await self._form(reference), await self._form(answer))

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        """Return the class of each answer: the first whose representative it equals, in order of ``rank``.

        ``same`` is not quite transitive (0.333333 stands for 1/3 and for 0.3333329), so the classes of a set
        of answers depend on the set; never on its order, nor on how often an answer occurs.
        """
        forms: dict[str, Form] = {}
        for answer in [a for a in dict.fromkeys(answers) if a is not None]:
            forms[answer] = await self._form(answer)
            await asyncio.sleep(0)  # reading many takes time, and other tasks must continue
        founder_of: dict[str, str] = {}
        founders: list[Form] = []
        for form in sorted({f.name: f for f in forms.values()}.values(), key=rank):
            await asyncio.sleep(0)
            founder = next((f for f in founders if same(f, form)), form)
            if founder is form:
                founders.append(form)
            founder_of[form.name] = founder.vote_key
        return [None if a is None else founder_of[forms[a].name] for a in answers]

    async def _form(self, answer: str) -> Form:
        form = read_form(answer)
        if not isinstance(form, Plain) or not is_carried_out(answer):
            return form
        if form.text not in self._carried_out:
            reply = await self.pool.ask({"read": tidy(answer)})
            normal = None if reply is None else reply["normal"]
            self._carried_out[form.text] = form if normal is None else read_form(normal)
        return self._carried_out[form.text]


def make_grader(
    kind: AnswerKind, pool: GradingPool, num_options: Callable[[], int] = _one_letter_each
) -> Grader:
    """Return the grader of one kind of answer; expressions need the pool, choices ``num_options``."""
    match kind:
        case "integer":
            return IntegerGrader()
        case "choice":
            return ChoiceGrader(num_options)
        case "math":
            return MathGrader(pool)
