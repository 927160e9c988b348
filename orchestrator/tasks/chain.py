"""Arithmetic chains: a start value and operations, eight by default, carried out one a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from orchestrator.tasks.drawn import ANSWER_MARKER, BUCKETS, DELIMITER, DrawnTask, answer_line, draw
from orchestrator.tasks.draws import Draws, Split
from orchestrator.tasks.operations import MAX_VALUE, Operation
from orchestrator.types import Problem

NUM_STEPS = 8
STEP_NAMES = "abcdefghijklmnop"  # as many operations as a chain has at most

_NUMBER = re.compile(r"[-+]?\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Chain:
    """A start value and its operations; every intermediate value is in 1..MAX_VALUE."""

    start: int
    operations: tuple[Operation, ...]

    @property
    def question(self) -> str:
        """For example ``51 a/3 b+67``: operation ``a`` is done first."""
        named = zip(STEP_NAMES, self.operations, strict=False)
        return " ".join([str(self.start), *(f"{n}{o.symbol}{o.operand}" for n, o in named)])

    @property
    def values(self) -> tuple[int, ...]:
        """The value after each operation."""
        values, value = [], self.start
        for operation in self.operations:
            result = operation.apply(value)
            if result is None:
                raise ValueError(f"{value}{operation.symbol}{operation.operand} leaves 1..{MAX_VALUE}")
            value = result
            values.append(value)
        return tuple(values)

    @property
    def lines(self) -> tuple[str, ...]:
        """The right solution: a line for each operation, then the answer; each ends with a newline."""
        before = (self.start, *self.values[:-1])
        steps = [
            step_line(i, v, o, r)
            for i, (v, o, r) in enumerate(zip(before, self.operations, self.values, strict=True))
        ]
        return (*steps, answer_line(self.values[-1]))


def step_line(index: int, value: int, operation: Operation, result: int) -> str:
    """Return the line of a step, for example ``a51/3=17``."""
    return f"{STEP_NAMES[index]}{value}{operation.symbol}{operation.operand}={result}{DELIMITER}"


def _draw_operation(value: int, draws: Draws) -> Operation:
    divisors = [k for k in range(2, 10) if value % k == 0]
    factors = [k for k in range(2, 10) if value * k <= MAX_VALUE]
    choices: list[tuple[str, list[int] | range]] = [("/", divisors), ("*", factors)]
    choices += [("+", range(1, MAX_VALUE - value + 1)), ("-", range(1, value))]
    feasible = [(symbol, operands) for symbol, operands in choices if operands]
    symbol, operands = feasible[draws.below(len(feasible))]
    return Operation(symbol, operands[draws.below(len(operands))])


def _draw_chain(name: str, num_steps: int) -> Chain:
    draws = Draws(name)
    start = value = 1 + draws.below(MAX_VALUE)
    operations = []
    for _ in range(num_steps):
        operation = _draw_operation(value, draws)
        operations.append(operation)
        value = operation.apply(value) or 1  # never None: _draw_operation offers feasible ones only
    return Chain(start, tuple(operations))


def draw_chain(split: Split, index: int, num_steps: int = NUM_STEPS) -> Chain:
    """Return the chain that a split and an index name; splits are disjoint by the hash of the question."""
    name = f"chain/{num_steps}"
    return draw(lambda attempt: _draw_chain(attempt, num_steps), name, split, index, BUCKETS)


def draw_chains(split: Split, start: int, num: int, num_steps: int = NUM_STEPS) -> Iterator[Chain]:
    """Return ``num`` chains of a split, from index ``start``."""
    return (draw_chain(split, i, num_steps) for i in range(start, start + num))


def read_value(line: str) -> int | None:
    """Return the number that a line states: after ``=`` in a step, after ``#`` in an answer."""
    mark = ANSWER_MARKER if line.startswith(ANSWER_MARKER) else "="
    _, found, text = line.rstrip(DELIMITER).partition(mark)
    return int(text) if found and text.isascii() and text.isdigit() and len(text) < 9 else None


def read_number(text: str) -> str | None:
    """Return a whole number of any length in its shortest writing; None for another text."""
    if _NUMBER.fullmatch(text) is None:
        return None
    digits = text.lstrip("+-").lstrip("0") or "0"
    return f"-{digits}" if text.startswith("-") and digits != "0" else digits


def parse_question(question: str) -> Chain:
    """Return the chain that a question states. Raises ValueError on another text."""
    start, *operations = question.split(" ")
    return Chain(int(start), tuple(Operation(o[1], int(o[2:])) for o in operations))


@dataclass(frozen=True, slots=True)
class ChainTask(DrawnTask):
    """Arithmetic chains as a task: 10,000 problems a split."""

    id_prefix: ClassVar[str] = "chain"
    num_operations: ClassVar[int] = NUM_STEPS

    def problem(self, index: int) -> Problem:
        chain = draw_chain(self.split, index, self.num_operations)
        return Problem(f"{self.id_prefix}-{self.split}-{index}", chain.question, str(chain.values[-1]))

    def extract(self, text: str) -> str | None:
        """Return the number after the last ``#`` that something follows, without leading zeros."""
        lines = [line.rstrip(f" \t\r{ANSWER_MARKER}") for line in text.split(DELIMITER)]
        last = next((line for line in reversed(lines) if ANSWER_MARKER in line), "")
        return read_number(last.rpartition(ANSWER_MARKER)[2].strip())
