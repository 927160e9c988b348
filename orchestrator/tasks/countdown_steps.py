"""The rules of Countdown: which steps can be taken, what a line states and which targets can be reached."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.tasks.drawn import ANSWER_MARKER, DELIMITER
from orchestrator.tasks.operations import Operation

SYMBOLS = "+-*/"

_STEP = re.compile(r"(\d{1,4})([-+*/])(\d{1,4})=(\d{1,4}) (\d{1,4}(?:,\d{1,4})*)\n?", re.ASCII)
_MOVE = re.compile(r"(\d{1,4})([-+*/])(\d{1,4})=", re.ASCII)
# Any number but those that Python does not convert (4,300 digits).
_ANSWER = re.compile(rf"{ANSWER_MARKER}(\d{{1,4000}})\n?", re.ASCII)


Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """Two numbers and an operation on them, as ``value symbol operand``."""

    value: int
    operation: Operation

    @property
    def result(self) -> int | None:
        """The result, or None where it is not a whole number of 1..MAX_VALUE."""
        if self.operation.operand == 0:
            return None
        return self.operation.apply(self.value)

    @property
    def text(self) -> str:
        """For example ``16*3``."""
        return f"{self.value}{self.operation.symbol}{self.operation.operand}"

    @property
    def normal(self) -> Move:
        """The same move with the larger number first, where the order does not matter."""
        swaps = self.operation.symbol in "+*" and self.value < self.operation.operand
        return self.swapped if swaps else self

    @property
    def swapped(self) -> Move:
        """The same operation with its numbers swapped."""
        return Move(self.operation.operand, Operation(self.operation.symbol, self.value))


@dataclass(frozen=True, slots=True)
class CountdownStep:
    """What a step's line states: a move, its result and the numbers left."""

    move: Move
    result: int
    left: Numbers

    @property
    def line(self) -> str:
        """For example ``16*3=48 7,11,48`` and a newline."""
        return f"{self.move.text}={self.result} {','.join(map(str, self.left))}{DELIMITER}"


def take(numbers: Numbers, move: Move) -> CountdownStep | None:
    """Return the right step for a move: the numbers left keep their order, the result comes last.

    None where the move's numbers are missing or its result is not in 1..MAX_VALUE.
    """
    left, result = list(numbers), move.result
    for used in (move.value, move.operation.operand):
        if used not in left:
            return None
        left.remove(used)
    return None if result is None else CountdownStep(move, result, (*left, result))


@lru_cache(maxsize=200_000)
def _results(a: int, b: int) -> frozenset[int]:
    moves = (Move(x, Operation(s, y)) for x, y in ((a, b), (b, a)) for s in SYMBOLS)
    return frozenset(m.result for m in moves if m.result is not None)


def moves(numbers: Numbers) -> list[Move]:
    """Return every different move, the larger number first."""
    pairs = {
        (max(a, b), min(a, b)) for i, a in enumerate(numbers) for b in numbers[:i]
    }  # a set: equal numbers make equal moves
    found = [Move(a, Operation(s, b)) for a, b in sorted(pairs) for s in SYMBOLS]
    return [move for move in found if move.result is not None]


@lru_cache(maxsize=200_000)
def _values(numbers: Numbers) -> frozenset[int]:
    """Return every value that ascending ``numbers`` can end at.

    The last step joins the values of two parts: the states are the parts, not the orders of the steps.
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
    """Return whether some order of steps ends at ``target``: exact, by brute force over parts."""
    return target in _values(tuple(sorted(numbers)))


def read_move(line: str) -> Move | None:
    """Return the move that a line begins with, up to its ``=``."""
    found = _MOVE.match(line)
    return Move(int(found[1]), Operation(found[2], int(found[3]))) if found else None


def read_step(line: str) -> CountdownStep | None:
    """Return what a line states, right or wrong; None where it is not a step."""
    found = _STEP.fullmatch(line)
    if found is None:
        return None
    value, symbol, operand, result, left = found.groups()
    move = Move(int(value), Operation(symbol, int(operand)))
    return CountdownStep(move, int(result), tuple(map(int, left.split(","))))


def read_answer(line: str) -> int | None:
    """Return the number of an answer line."""
    found = _ANSWER.fullmatch(line)
    return int(found[1]) if found else None


def is_valid(numbers: Numbers, step: CountdownStep) -> bool:
    """Return whether a step is right with ``numbers``; the order of those left is free."""
    right = take(numbers, step.move)
    return right is not None and right.result == step.result and Counter(right.left) == Counter(step.left)
