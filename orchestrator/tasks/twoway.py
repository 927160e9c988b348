"""Two-way walks: five moves of a reversible automaton, whose last state or whose first state is asked for.

The automaton has 16 states, ``A`` to ``P``, and 12 moves, ``a`` to ``l``, each a fixed permutation of the
states. Where the last state is asked for, the walk is written as far as the writer chooses, then the answer.
Where the first state is asked for, the answer is written first, and the whole walk from there proves it: it
can only be found backwards from the last state. A canvas of masks can be filled in either order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from orchestrator.tasks.drawn import ANSWER_MARKER, BUCKETS, DrawnTask, draw
from orchestrator.tasks.draws import Draws, Split
from orchestrator.types import Problem

STATES = "ABCDEFGHIJKLMNOP"
MOVES = "abcdefghijkl"
NUM_MOVES = 5
UNKNOWN = "?"

_ANSWER = re.compile(rf"{ANSWER_MARKER}([{STATES}])(?![{STATES}])")


@cache
def permutation(move: str) -> str:
    """Return the states to which a move leads: a random permutation of STATES, drawn from its name."""
    draws, left = Draws(f"twoway/move/{move}"), list(STATES)
    return "".join(left.pop(draws.below(len(left))) for _ in STATES)


@dataclass(frozen=True, slots=True)
class Walk:
    """A first state, moves, and which end is asked for."""

    first: str
    moves: str
    asks_first: bool

    @property
    def states(self) -> str:
        """The state after each move."""
        states, state = "", self.first
        for move in self.moves:
            state = permutation(move)[STATES.index(state)]
            states += state
        return states

    @property
    def question(self) -> str:
        """``Fcabda?``, or ``?cabdaK`` where the first state is asked for."""
        return f"{UNKNOWN}{self.moves}{self.states[-1]}" if self.asks_first else f"{self.first}{self.moves}?"

    @property
    def answer(self) -> str:
        """One state."""
        return self.first if self.asks_first else self.states[-1]

    def solution(self, num_shown: int | None = None) -> str:
        """Return a right solution: the first state, then each move and the state that it leads to.

        The last state is stated after ``num_shown`` moves (None: all of them), for example ``FcGaB#K``, or
        ``#K`` after none; the first state before the walk that proves it, which is always whole:
        ``#FcGaBbAdJaK``.
        """
        walked = self.first + "".join(m + s for m, s in zip(self.moves, self.states, strict=True))
        if self.asks_first:
            return ANSWER_MARKER + walked
        num_shown = len(self.moves) if num_shown is None else num_shown
        return (walked[: 2 * num_shown + 1] if num_shown else "") + ANSWER_MARKER + self.answer


def _draw_walk(name: str, num_moves: int) -> Walk:
    draws = Draws(name)
    asks_first, first = draws.below(2) == 1, STATES[draws.below(len(STATES))]
    return Walk(first, "".join(MOVES[draws.below(len(MOVES))] for _ in range(num_moves)), asks_first)


def draw_walk(split: Split, index: int, num_moves: int = NUM_MOVES) -> Walk:
    """Return the walk that a split and an index name; splits are disjoint by the hash of the question."""
    name = f"twoway/{num_moves}"
    return draw(lambda attempt: _draw_walk(attempt, num_moves), name, split, index, BUCKETS)


def draw_walks(split: Split, start: int, num: int, num_moves: int = NUM_MOVES) -> Iterator[Walk]:
    """Return ``num`` walks of a split, from index ``start``."""
    return (draw_walk(split, i, num_moves) for i in range(start, start + num))


@dataclass(frozen=True, slots=True)
class TwoWayTask(DrawnTask):
    """Two-way walks as a task: 10,000 problems a split.

    A solution has no lines: it is one step.
    """

    # A walk may follow the answer, so only end of text ends a solution.
    answer_marker: ClassVar[str | None] = None

    def problem(self, index: int) -> Problem:
        walk = draw_walk(self.split, index)
        asks = "first" if walk.asks_first else "last"
        return Problem(f"twoway-{self.split}-{index}", walk.question, walk.answer, {"asks": asks})

    def extract(self, text: str) -> str | None:
        """Return the state after the one ``#``; None where there is none, or more than one."""
        stated = _ANSWER.findall(text)
        return stated[0] if len(stated) == 1 and text.count(ANSWER_MARKER) == 1 else None
