"""What a search over several runs has so far: all of their candidates, and the best answer among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from orchestrator.types import AttemptRecord, Record, RoleRecord, Solution, Trajectory, TrialRecord


@dataclass
class Drafts:
    """Every candidate, and which of the offered answers is the best: finished ones first, then by score."""

    trajectories: list[Trajectory] = field(default_factory=list)
    history: list[Record] = field(default_factory=list)
    best: int | None = None
    score: float = 0.0

    def add(self, solution: Solution, answer: Trajectory | None, score: float) -> bool:
        """Add a run's candidates, its answer with its reward; return whether the answer is the best."""
        first, at = len(self.trajectories), solution.answer_index
        self.trajectories += solution.trajectories
        self.history += moved(solution.history, first)
        if answer is None or at is None:
            return False
        self.trajectories[first + at] = answer
        if is_better := self.best is None or (answer.finished, score) > (self.draft.finished, self.score):
            self.best, self.score = first + at, score
        return is_better

    @property
    def draft(self) -> Trajectory:
        """The best answer so far; there must be one."""
        assert self.best is not None
        return self.trajectories[self.best]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial has come to; the last three are as in its record."""

    number: int
    num_answers: int
    score: float
    is_better: bool
    draft: int | None = None
    num_removed: int = 0
    num_dropped: int = 0

    def record(self, arm: str, bound: float) -> TrialRecord:
        shown = (self.draft, self.num_removed, self.num_dropped)
        return TrialRecord(self.number, arm, self.score, bound, *shown)


def moved(history: Sequence[Record], first: int) -> list[Record]:
    """Return what roles have said, and the attempts under their numbers among all candidates.

    Steps and nodes are left out: they are numbered within one search.
    """
    said: list[Record] = [record for record in history if isinstance(record, RoleRecord)]
    return said + [
        replace(r, candidate=first + r.candidate, read=tuple(first + i for i in r.read))
        for r in history
        if isinstance(r, AttemptRecord)
    ]
