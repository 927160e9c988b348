"""The training examples of the Countdown models: solutions that are right, get lost or slip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.embedded.corpus import Example, near_miss, num_common
from orchestrator.tasks.countdown import Puzzle, is_solution, normal_text, read_solution, solution_key
from orchestrator.tasks.countdown_steps import (
    CountdownStep,
    Numbers,
    is_reachable,
    is_valid,
    moves,
    read_answer,
    read_move,
    read_step,
    take,
)
from orchestrator.tasks.drawn import answer_line


def annotate(puzzle: Puzzle, lines: Sequence[str]) -> Example:
    """Mark each character of a response; a state is right if all lines are true and the target is in reach.

    A move is judged from its ``=`` on, where its operands are known. A lost state is never right again.
    """
    is_right: list[int] = []
    is_local: list[bool] = []
    expected: list[str] = []
    stated: Numbers | None = puzzle.numbers
    was_right = True
    lines = lines[: len(puzzle.numbers)]
    for line in lines:
        local_line, num_local, decided = _local_line(stated, line)
        leads_on = was_right and _is_right_after(puzzle, stated, local_line)
        is_right += [
            int(was_right and j < num_local and (leads_on or j < decided)) for j in range(len(line) - 1)
        ]
        was_right = was_right and _is_right_after(puzzle, stated, line)
        is_right.append(int(was_right))
        is_local += [j < num_local for j in range(len(line))]
        expected += [
            local_line[j] if decided < j <= num_local and j < len(local_line) else ""
            for j in range(len(line))
        ]
        stated = _stated_after(line)
    response = "".join(lines)
    return Example(puzzle.question + "\n", response, tuple(is_right), tuple(is_local), tuple(expected))


def are_right(puzzle: Puzzle, lines: Sequence[str]) -> list[bool]:
    """Return for each line whether the state after it is right."""
    stated: Numbers | None = puzzle.numbers
    was_right, marks = True, []
    for line in lines:
        was_right = was_right and _is_right_after(puzzle, stated, line)
        marks.append(was_right)
        stated = _stated_after(line)
    return marks


def stated_answer(lines: Sequence[str]) -> str | None:
    """Return the key of a whole solution, or None."""
    read = read_solution("".join(lines))
    return solution_key(normal_text(*read)) if read else None


def is_right(puzzle: Puzzle, lines: Sequence[str]) -> bool:
    read = read_solution("".join(lines))
    return read is not None and is_solution(puzzle, *read)


def _stated_after(line: str) -> Numbers | None:
    step = read_step(line)
    return step.left if step else None


def _is_right_after(puzzle: Puzzle, numbers: Numbers | None, line: str) -> bool:
    """Whether a line is a true statement about right ``numbers``, and leaves the target in reach."""
    if numbers is None:
        return False
    if len(numbers) == 1:
        return read_answer(line) == numbers[0] == puzzle.target
    step = read_step(line)
    return step is not None and is_valid(numbers, step) and is_reachable(step.left, puzzle.target)


def _local_line(numbers: Numbers | None, line: str) -> tuple[str, int, int]:
    """The right line with the move of ``line``, how much of it ``line`` shares, and where its ``=`` is.

    Without a possible move there is no such line; what ``line`` shares with any right line counts.
    """
    if numbers is None:
        return "", 0, 0
    if len(numbers) == 1:
        local_line = answer_line(numbers[0])
        return local_line, num_common(line, local_line), -1
    move = read_move(line)
    step = take(numbers, move) if move else None
    if move is None or step is None:
        longest = max((num_common(line, s.line) for s in _possible_steps(numbers)), default=0)
        return "", longest, len(line)
    return step.line, num_common(line, step.line), step.line.index("=")


def _possible_steps(numbers: Numbers) -> list[CountdownStep]:
    """Every right step, with the operands of sums and products in both orders."""
    found = moves(numbers)
    swapped = [m.swapped for m in found if m.operation.symbol in "+*"]
    return [step for move in (*found, *swapped) if (step := take(numbers, move))]


def wander(puzzle: Puzzle, rng: np.random.Generator, lost: float, slip: float) -> list[str]:
    """Return the lines of a solver that takes any move with probability ``lost``, and slips with ``slip``.

    Its other moves keep the target in reach where possible. A slip is a wrong result, or a wrong number among
    those left; later lines continue from what it states.
    """
    numbers, lines = puzzle.numbers, []
    while len(numbers) > 1:
        possible = [take(numbers, move) for move in moves(numbers)]
        steps = [possible[i] for i in rng.permutation(len(possible))]
        if not steps:
            break
        step = steps[0]
        if rng.random() >= lost:
            step = next((s for s in steps if s and is_reachable(s.left, puzzle.target)), step)
        assert step is not None
        if rng.random() < slip:
            step = _slip(step, puzzle.target, rng)
        lines.append(step.line)
        numbers = step.left
    shown = puzzle.target if rng.random() < 0.5 else numbers[-1]
    return [*lines, answer_line(near_miss(shown, rng) if rng.random() < slip / 4 else shown)]


def _slip(step: CountdownStep, target: int, rng: np.random.Generator) -> CountdownStep:
    """A wrong result (the target itself, where one step should end at it), or a wrong number kept."""
    if rng.random() < 0.7 or len(step.left) < 2:
        wrong = target if len(step.left) == 1 and rng.random() < 0.6 else near_miss(step.result, rng)
        return CountdownStep(step.move, wrong, (*step.left[:-1], wrong))
    left = list(step.left)
    place = int(rng.integers(len(left) - 1))
    used = (step.move.value, step.move.operation.operand)[int(rng.integers(2))]
    keeps_used = used != left[place] and rng.random() < 0.5
    left[place] = used if keeps_used else near_miss(left[place], rng)
    return CountdownStep(step.move, step.result, tuple(left))
