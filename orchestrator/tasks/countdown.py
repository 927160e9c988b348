"""Countdown: reach a target from four numbers, two of them combined at each step until one is left.

A step looks like ``16*3=48 7,11,48``: an operation, then the numbers left, its result last. A first step
nearly always looks right: only when few numbers are left, it shows whether the target can still be reached.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from orchestrator.tasks.countdown_steps import (
    SYMBOLS,
    CountdownStep,
    Move,
    Numbers,
    is_valid,
    read_answer,
    read_step,
    take,
)
from orchestrator.tasks.drawn import ANSWER_MARKER, DELIMITER, Buckets, DrawnTask, answer_line, draw
from orchestrator.tasks.draws import Draws, Split
from orchestrator.tasks.operations import Operation
from orchestrator.types import Problem

NUM_NUMBERS = 4
MAX_NUMBER = 30
MAX_TARGET = 20

# A problem is in one split only, whatever its index. Small numbers make few different puzzles, so the test
# split takes a quarter of them.
_BUCKETS: Buckets = {"test": range(5), "dev": range(5, 6), "train": range(6, 20)}


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Numbers of 1..MAX_NUMBER in ascending order, a target of 1..MAX_TARGET, and a known solution.

    ``solution`` is empty where the puzzle was read and not drawn; it takes no part in comparisons.
    """

    numbers: Numbers
    target: int
    solution: tuple[Move, ...] = field(default=(), compare=False)

    @property
    def question(self) -> str:
        """For example ``3,7,11,16:15``."""
        return f"{','.join(map(str, self.numbers))}:{self.target}"

    @property
    def lines(self) -> tuple[str, ...]:
        """The known solution: a line for each step, then the answer; each ends with a newline."""
        numbers, lines = self.numbers, []
        for move in self.solution:
            step = take(numbers, move)
            if step is None:
                raise ValueError(f"{move.text} cannot be done with {numbers}")
            lines.append(step.line)
            numbers = step.left
        return (*lines, answer_line(self.target))


def parse_question(question: str) -> Puzzle:
    """Return the puzzle that a question states. Raises ValueError on another text."""
    numbers, target = question.split(":")
    return Puzzle(tuple(map(int, numbers.split(","))), int(target))


def _draw_puzzle(name: str, num_numbers: int) -> Puzzle | None:
    """Draw numbers and random steps; None where they end above MAX_TARGET or no step can be taken."""
    draws = Draws(name)
    numbers = drawn = tuple(sorted(1 + draws.below(MAX_NUMBER) for _ in range(num_numbers)))
    solution = []
    for num_left in range(num_numbers, 1, -1):
        first = draws.below(num_left)
        second = (first + 1 + draws.below(num_left - 1)) % num_left
        a, b = sorted((numbers[first], numbers[second]), reverse=True)
        possible = [m for s in SYMBOLS if (m := Move(a, Operation(s, b))).result is not None]
        if not possible:
            return None
        move = possible[draws.below(len(possible))]
        step = take(numbers, move)
        assert step is not None
        solution.append(move)
        numbers = step.left
    return Puzzle(drawn, numbers[0], tuple(solution)) if numbers[0] <= MAX_TARGET else None


def draw_puzzle(split: Split, index: int, num_numbers: int = NUM_NUMBERS) -> Puzzle:
    """Return the puzzle that a split and an index name; splits are disjoint by the hash of the question."""
    name = f"countdown/{num_numbers}"
    return draw(lambda attempt: _draw_puzzle(attempt, num_numbers), name, split, index, _BUCKETS)


def draw_puzzles(split: Split, start: int, num: int, num_numbers: int = NUM_NUMBERS) -> Iterator[Puzzle]:
    """Return ``num`` puzzles of a split, from index ``start``."""
    return (draw_puzzle(split, i, num_numbers) for i in range(start, start + num))


def read_solution(text: str) -> tuple[list[CountdownStep], int] | None:
    """Return the steps and the stated answer of a whole solution; None where it is anything else.

    Empty lines, and lines that begin an answer and state none, are ignored.
    """
    lines = [line for line in text.split(DELIMITER) if line.strip(f"{ANSWER_MARKER} \t\r")]
    *lines, last = lines or [""]
    steps, value = [read_step(line) for line in lines], read_answer(last)
    if value is None or None in steps:
        return None
    return [step for step in steps if step is not None], value


def is_solution(puzzle: Puzzle, steps: Sequence[CountdownStep], value: int) -> bool:
    """Return whether every step is right with the numbers that are left, and the end is the target."""
    numbers = puzzle.numbers
    for step in steps:
        if not is_valid(numbers, step):
            return False
        numbers = step.left
    return numbers == (value,) and value == puzzle.target


def normal_text(steps: Sequence[CountdownStep], value: int) -> str:
    """Return one text for solutions that differ only in the order of operands and of the numbers left."""
    written = (f"{s.move.normal.text}={s.result} {','.join(map(str, sorted(s.left)))}" for s in steps)
    return "; ".join((*written, answer_line(value).rstrip(DELIMITER)))


def solution_key(answer: str) -> str:
    """Return one key for solutions that take the same steps in another order, where each step is right.

    A solution does not state the numbers of its puzzle, but its steps show them: those that they used and
    did not make. A wrong solution is its own key, so that it never shares one with a right solution.
    """
    read = read_solution(answer.replace("; ", DELIMITER))
    if read is None or not read[0]:
        return answer
    steps, value = read
    used = Counter(n for s in steps for n in (s.move.value, s.move.operation.operand))
    used.subtract(s.result for s in steps[:-1])
    begun_with = tuple(sorted(used.elements()))
    if not is_solution(Puzzle(begun_with, value), steps, value):
        return answer
    return "; ".join(sorted(f"{s.move.text}={s.result}" for s in steps))


@dataclass(frozen=True, slots=True)
class CountdownTask(DrawnTask):
    """Countdown as a task: 12,000 problems a split.

    About 10,600 of the 12,000 of ``test`` are different: small numbers make few puzzles.

    An answer is a whole solution, since many are right; the reference is the question, and grading carries
    the solution out.
    """

    buckets: ClassVar[Buckets] = _BUCKETS
    num_problems: ClassVar[int] = 12_000

    def problem(self, index: int) -> Problem:
        question = draw_puzzle(self.split, index).question
        return Problem(f"countdown-{self.split}-{index}", question, question)

    def extract(self, text: str) -> str | None:
        """Return the whole solution, normalised; None where it has no answer line or a bad line."""
        read = read_solution(text)
        return None if read is None else normal_text(*read)

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return [None if answer is None else solution_key(answer) for answer in answers]

    async def grade(self, answer: str | None, reference: str) -> bool:
        read = None if answer is None else read_solution(answer.replace("; ", DELIMITER))
        return read is not None and is_solution(parse_question(reference), *read)
