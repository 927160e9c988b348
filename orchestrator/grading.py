"""When two answers are the same: integers, letters and expressions, for grading and for votes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, Protocol

from orchestrator.grading_letters import read_letter
from orchestrator.grading_pool import GradingPool
from orchestrator.grading_text import (
    based_number,
    bracketed_alike,
    exact_number,
    plain_words,
    read_integer,
    tidy,
    words,
)
from orchestrator.option_labels import LETTERS, index_of, read_long_label

AnswerKind = Literal["math", "integer", "choice"]


class Grader(Protocol):
    """How one kind of answer is read and compared."""

    def read(self, stated: str) -> str | None:
        """The answer in what a solution or a reference states; None where that is no answer of this kind."""
        ...

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        """As ``Task.keys``, for answers that ``read`` returned."""
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

    ``num_options`` is the most that a question of the task has, asked for when an answer names a label of two
    letters: without so many options it is no label.
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


@dataclass(frozen=True, slots=True)
class Expression:
    """What the pool reads in a text: the expression carried out, as text, and its value where it has one."""

    normal: str
    value: complex | None

    def differs(self, other: Expression) -> bool:
        """Whether the values tell that the two are different."""
        if self.value is None or other.value is None:
            return False
        return abs(self.value - other.value) > 1e-4 * max(1.0, abs(self.value), abs(other.value))


@dataclass(frozen=True)
class MathGrader:
    """Mathematical expressions: numbers and equal texts at once, everything else by math-verify in a pool.

    An answer that takes the pool too long equals its own text alone. What the pool said is remembered.
    """

    pool: GradingPool
    _read: dict[str, Expression | None] = field(default_factory=dict, init=False, repr=False)
    _pairs: dict[tuple[str, str, bool], bool] = field(default_factory=dict, init=False, repr=False)

    def read(self, stated: str) -> str | None:
        return stated if tidy(stated) else None

    async def grade(self, answer: str | None, reference: str) -> bool:
        """The reference first: ``x=5`` answers 5, but the two sides of a comparison are not exchangeable."""
        return answer is not None and await self._same(tidy(reference), tidy(answer), either=False)

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        """Each answer joins the first class whose representative it equals, in an order of their own.

        Equivalence by simplification is not transitive, so the classes of a set of answers depend on the set;
        never on its order, nor on how often an answer occurs.
        """
        texts = [None if answer is None else tidy(answer) for answer in answers]
        key_of: dict[str, str] = {}
        representatives: list[str] = []
        for text in sorted({t for t in texts if t is not None}, key=_rank):
            equal = await asyncio.gather(*(self._same(r, text, either=True) for r in representatives))
            founder = next((r for r, is_equal in zip(representatives, equal, strict=True) if is_equal), None)
            if founder is None:
                representatives.append(text)
                key_of[text] = await self._name(text)
            else:
                key_of[text] = key_of[founder]
        return [None if text is None else key_of[text] for text in texts]

    async def _name(self, text: str) -> str:
        """A key that is the same in another set of answers, as far as that is known without comparing."""
        expression = await self._expression(text)
        return text if expression is None else expression.normal

    async def _same(self, gold: str, answer: str, *, either: bool) -> bool:
        answer = bracketed_alike(gold, answer)
        gold = bracketed_alike(answer, gold) if either else gold
        known = _same_at_a_glance(gold, answer)
        if known is not None:
            return known
        # What is no expression, or a bomb, is found out once and not in each pair.
        if (second := await self._expression(answer)) is None:
            return False
        if (first := await self._expression(gold)) is None or first.differs(second):
            return False
        pair = (gold, answer, either)
        if pair not in self._pairs:
            reply = await self.pool.ask({"gold": gold, "answer": answer, "either": either})
            self._pairs[pair] = reply is not None and reply["same"]
        return self._pairs[pair]

    async def _expression(self, text: str) -> Expression | None:
        """The expression that a text is; None where it is none, or takes too long."""
        if number := exact_number(text):
            return Expression(str(number.value), complex(number.value))
        if text not in self._read:
            reply = await self.pool.ask({"read": text})
            expression = None
            if reply is not None and reply["normal"] is not None:
                value = None if reply["value"] is None else complex(*reply["value"])
                expression = Expression(reply["normal"], value)
            self._read[text] = expression
        return self._read[text]


def _rank(text: str) -> tuple[bool, bool, Fraction, int, str]:
    """Exact numbers first, then decimals, then the rest, short ones first."""
    number = exact_number(text)
    value = Fraction(0) if number is None else number.value
    return (number is None, number is not None and number.places is not None, value, len(text), text)


def _same_at_a_glance(gold: str, answer: str) -> bool | None:
    """What needs no expression: equal texts, numbers, bases, words. None where that is not enough."""
    if gold.replace(" ", "") == answer.replace(" ", ""):
        return True
    numbers = exact_number(gold), exact_number(answer)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0].equals(numbers[1])
    if based_number(gold) and based_number(answer):
        return based_number(gold) == based_number(answer)
    if words(gold) is not None or words(answer) is not None:
        return plain_words(gold) == plain_words(answer)
    return None


def make_grader(
    kind: AnswerKind, pool: GradingPool, num_options: Callable[[], int] = _one_letter_each
) -> Grader:
    """The grader of one kind of answer; only expressions need the pool, only choices ``num_options``."""
    match kind:
        case "integer":
            return IntegerGrader()
        case "choice":
            return ChoiceGrader(num_options)
        case "math":
            return MathGrader(pool)
