"""The result of one problem."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import ProblemError
from orchestrator.types import Overhead, Params, Problem, Solution, Trajectory, Usage


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trajectory offered as an answer, read and graded; ``params`` where the strategy reports them.

    ``group``, of independent samples alone, is the first of them, in the search's order, with an equivalent
    answer; itself where it has none.
    """

    trajectory: Trajectory
    log_weight: float
    answer: str | None
    correct: bool
    params: Params | None = None
    group: int | None = None


@dataclass(frozen=True, slots=True)
class ProblemResult:
    """How one problem ended: candidates (the answer's first), or an error as a value."""

    problem: Problem
    candidates: tuple[Candidate, ...]
    has_answer: bool
    error: ProblemError | None
    stopped_by: str | None
    solution: Solution | None
    usage: Usage
    overhead: Overhead
    seconds: float

    @property
    def answer(self) -> str | None:
        return self.candidates[0].answer if self.has_answer else None

    @property
    def correct(self) -> bool:
        return self.has_answer and self.candidates[0].correct
