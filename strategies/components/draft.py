"""An answer on its way through a pipeline, and what was said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.types import Trajectory


@dataclass(frozen=True, slots=True)
class UnitTest:
    """A statement that a right answer fulfils; ``passed`` is None until it was evaluated."""

    statement: str
    passed: bool | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer to the problem. ``number`` is its place in the solution, None for a new one.

    ``read`` are the places of the drafts that a fused one was made from, ``num_dropped`` were left out
    for want of room. ``verdict`` is None until it was verified.
    """

    trajectory: Trajectory
    critique: str = ""
    verdict: bool | None = None
    tests: tuple[UnitTest, ...] = ()
    number: int | None = None
    read: tuple[int, ...] = ()
    num_dropped: int = 0

    @property
    def text(self) -> str:
        return self.trajectory.text.strip()

    @property
    def num_passed(self) -> int:
        return sum(test.passed is True for test in self.tests)


Drafts = Sequence[Draft]
