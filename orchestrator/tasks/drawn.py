"""What drawn tasks share: a split and an index fix a problem, and splits have no problem in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from orchestrator.schema import checked
from orchestrator.steps.rule import BY_DELIMITER, StepRule
from orchestrator.tasks.draws import Split, bucket
from orchestrator.types import Problem

ANSWER_MARKER = "#"
DELIMITER = "\n"

Buckets = Mapping[Split, range]
# Twenty buckets, of which two are held out: a problem is in one split only, whatever its index.
BUCKETS: Buckets = {"test": range(1), "dev": range(1, 2), "train": range(2, 20)}
_MAX_ATTEMPTS = 10_000


class _HasQuestion(Protocol):
    @property
    def question(self) -> str: ...


D = TypeVar("D", bound=_HasQuestion)


def draw(make: Callable[[str], D | None], name: str, split: Split, index: int, buckets: Buckets) -> D:
    """Return the first of ``make(name/split/index/attempt)`` whose question belongs to the split.

    ``make`` returns None for an attempt that yields no problem. Raises RuntimeError after 10,000 attempts.
    """
    for attempt in range(_MAX_ATTEMPTS):
        drawn = make(f"{name}/{split}/{index}/{attempt}")
        if drawn is not None and bucket(drawn.question) in buckets[split]:
            return drawn
    raise RuntimeError(f"no problem of {name} for split {split!r} and index {index}")


def answer_line(value: int) -> str:
    """Return an answer's line, for example ``#17`` and a newline."""
    return f"{ANSWER_MARKER}{value}{DELIMITER}"


@dataclass(frozen=True, slots=True)
@checked("task")
class DrawnTask(ABC):
    """A task without a data set: a problem is drawn from the name of its split and its index.

    A subclass defines how one problem is drawn and how an answer is read; answers are compared as texts
    unless it defines ``keys`` and ``grade``.
    """

    buckets: ClassVar[Buckets] = BUCKETS
    num_problems: ClassVar[int] = 10_000
    delimiter: ClassVar[str] = DELIMITER
    answer_marker: ClassVar[str | None] = ANSWER_MARKER
    instruction: ClassVar[str] = ""

    split: Split = "test"
    """Which problems: the splits have none in common."""
    step: StepRule = BY_DELIMITER
    """How a step ends (docs/tasks.md#steps)."""

    def __post_init__(self) -> None:
        self.step.check_beside(self.delimiter, self.answer_marker)

    @abstractmethod
    def problem(self, index: int) -> Problem:
        """Return the problem of this split at ``index``, from 0."""

    @abstractmethod
    def extract(self, text: str) -> str | None: ...

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        end = self.num_problems if limit is None else min(self.num_problems, offset + limit)
        return map(self.problem, range(offset, end))

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return list(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return answer == reference
