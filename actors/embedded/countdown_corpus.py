"""What the shipped models of the Countdown task are trained on: right, lost and mistaken solutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from actors.embedded.corpus import Example, num_common
from orchestrator.tasks.chain import ANSWER_MARKER, MAX_VALUE
from orchestrator.tasks.countdown import (
    Move,
    Numbers,
    Puzzle,
    Step,
    answer_line,
    is_reachable,
    is_valid,
    moves,
    read_answer,
    read_step,
    take,
)


def annotate(puzzle: Puzzle, lines: Sequence[str]) -> Example:
    """Mark each character of a response; a step is right when the target can be reached from what it leaves.

    The marks of a line before its ``=`` are those of its operands: which move it is shows only there.
    """
    is_right: list[int] = []
    is_local: list[bool] = []
    expected: list[str] = []
    stated: Numbers | None = puzzle.numbers
    was_right = True
    lines = lines[: len(puzzle.numbers)]
    for line in lines:
        local_line, num_local = _local_line(stated, line)
        decided = num_common(line, local_line.partition("=")[0] + "=") if "=" in local_line else 0
        now_right = was_right and _leads_on(puzzle, local_line)
        is_right += [int(was_right and j < num_local and (now_right or j < decided - 1)) for j in range(len(line) - 1)]
        was_right, stated = _state_after(puzzle, stated if was_right else None, line)
        is_right.append(int(was_right))
        is_local += [j < num_local for j in range(len(line))]
    response = "".join(lines)
    return Example(puzzle.question + "\n", response, tuple(is_right), tuple(is_local), tuple(expected))
