"""Countdown: reach a target from five numbers, two of them combined at each step until one is left.

A step looks like ``16*3=48 7,2,11,48``: an operation, then the numbers left, its result last. A first step
nearly always looks fine: whether the target can still be reached shows late, when few numbers are left.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from orchestrator.errors import ConfigError
from orchestrator.tasks.chain import ANSWER_MARKER, DELIMITER, MAX_VALUE, Operation
from orchestrator.tasks.draws import SPLITS, Draws, Split, is_in_split
from orchestrator.types import Problem

NUM_NUMBERS = 5
MAX_NUMBER = 20
SYMBOLS = "+-*/"

_STEP = re.compile(r"(\d{1,4})([-+*/])(\d{1,4})=(\d{1,4}) (\d{1,4}(?:,\d{1,4})*)\n?", re.ASCII)
_ANSWER = re.compile(rf"{ANSWER_MARKER}(\d{{1,4}})\n?", re.ASCII)

Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """Two numbers and what is done with them, as ``value symbol operand``."""

    value: int
    operation: Operation

    @property
    def result(self) -> int | None:
        """The result, or None where it is no whole number of 1..MAX_VALUE."""
        if self.operation.operand == 0:
            return None
        return self.operation.apply(self.value)

    @property
    def text(self) -> str:
        """For example ``16*3``."""
        return f"{self.value}{self.operation.symbol}{self.operation.operand}"


@dataclass(frozen=True, slots=True)
class Step:
    """What a step's line states: a move, its result and the numbers left."""

    move: Move
    result: int
    left: Numbers

    @property
    def line(self) -> str:
        """For example ``16*3=48 7,2,11,48`` and a newline."""
        return f"{self.move.text}={self.result} {','.join(map(str, self.left))}{DELIMITER}"


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Numbers of 1..MAX_NUMBER in ascending order, a target of 1..MAX_VALUE, and a known way there.

    ``solution`` is empty where the puzzle was read and not drawn; it takes no part in comparisons.
    """

    numbers: Numbers
    target: int
    solution: tuple[Move, ...] = field(default=(), compare=False)

    @property
    def question(self) -> str:
        """For example ``2,3,7,11,16:64``."""
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


def answer_line(value: int) -> str:
    """For example ``#64``."""
    return f"{ANSWER_MARKER}{value}{DELIMITER}"


def take(numbers: Numbers, move: Move) -> Step | None:
    """The right step for a move: the numbers left keep their order, the result comes last.

    None where the move's numbers are not there or its result leaves 1..MAX_VALUE.
    """
    left, result = list(numbers), move.result
    for used in (move.value, move.operation.operand):
        if used not in left:
            return None
        left.remove(used)
    return None if result is None else Step(move, result, (*left, result))


@lru_cache(maxsize=200_000)
def _results(a: int, b: int) -> frozenset[int]:
    moves = (Move(x, Operation(s, y)) for x, y in ((a, b), (b, a)) for s in SYMBOLS)
    return frozenset(m.result for m in moves if m.result is not None)


def moves(numbers: Numbers) -> list[Move]:
    """Every different move, the larger number first."""
    pairs = {
        (max(a, b), min(a, b)) for i, a in enumerate(numbers) for b in numbers[:i]
    }  # a set: equal numbers make equal moves
    found = [Move(a, Operation(s, b)) for a, b in sorted(pairs) for s in SYMBOLS]
    return [move for move in found if move.result is not None]


@lru_cache(maxsize=200_000)
def _values(numbers: Numbers) -> frozenset[int]:
    """Every value that ascending ``numbers`` can end at.

    The last step joins the values of two parts: the parts are the states, not the orders of the steps.
    """
    if len(numbers) == 1:
        return frozenset(numbers)
    found: set[int] = set()
    for chosen in range(1, 2 ** (len(numbers) - 1)):
        one = tuple(n for i, n in enumerate(numbers) if chosen >> i & 1)
        rest = tuple(n for i, n in enumerate(numbers) if not chosen >> i & 1)
        for a in _values(one):
            for b in _values(rest):
                found |= _results(a, b)
    return frozenset(found)


def is_reachable(numbers: Numbers, target: int) -> bool:
    """Whether some order of steps ends at ``target``; exact, by brute force over parts of the numbers."""
    return target in _values(tuple(sorted(numbers)))


def read_step(line: str) -> Step | None:
    """What a line states, right or wrong; None where it is no step."""
    found = _STEP.fullmatch(line)
    if found is None:
        return None
    value, symbol, operand, result, left = found.groups()
    move = Move(int(value), Operation(symbol, int(operand)))
    return Step(move, int(result), tuple(map(int, left.split(","))))


def read_answer(line: str) -> int | None:
    """The number of an answer line."""
    found = _ANSWER.fullmatch(line)
    return int(found[1]) if found else None


def is_valid(numbers: Numbers, step: Step) -> bool:
    """Whether a step does what it states with ``numbers``; the order of those left is free."""
    right = take(numbers, step.move)
    return right is not None and right.result == step.result and Counter(right.left) == Counter(step.left)


def parse_question(question: str) -> Puzzle:
    """The puzzle that a question states. Raises ValueError on another text."""
    numbers, target = question.split(":")
    return Puzzle(tuple(map(int, numbers.split(","))), int(target))


def _draw_puzzle(name: str, num_numbers: int) -> Puzzle | None:
    """Numbers, and the end of as many random steps as they allow; None where that is no end."""
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
    return Puzzle(drawn, numbers[0], tuple(solution))


def draw_puzzle(split: Split, index: int, num_numbers: int = NUM_NUMBERS) -> Puzzle:
    """The puzzle that a split and an index name; splits are disjoint by the hash of the question."""
    for attempt in range(10_000):
        puzzle = _draw_puzzle(f"countdown/{num_numbers}/{split}/{index}/{attempt}", num_numbers)
        if puzzle is not None and is_in_split(puzzle.question, split):
            return puzzle
    raise RuntimeError(f"no puzzle for split {split!r} and index {index}")


def draw_puzzles(split: Split, start: int, num: int, num_numbers: int = NUM_NUMBERS) -> Iterator[Puzzle]:
    """``num`` puzzles of a split, from index ``start``."""
    return (draw_puzzle(split, i, num_numbers) for i in range(start, start + num))
