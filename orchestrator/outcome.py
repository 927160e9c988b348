"""The result of one problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.drawing import page_of
from orchestrator.errors import ProblemError
from orchestrator.types import Overhead, Params, Problem, Solution, Trajectory, Usage

_MOST_SHOWN = 300  # characters of an answer or an error in a result's one line


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

    @property
    def text(self) -> str:
        return self.trajectory.text


@dataclass(frozen=True, slots=True, repr=False)
class ProblemResult:
    """How one problem ended: candidates (the answer's first), or an error as a value.

    ``usage`` is what accepted replies took, ``overhead`` what was retried or discarded; ``by_role`` is the
    part of the usage that answers to prompts took, by role; ``by_policy`` is what each policy took, where
    there are several, and ``cost`` what all of it cost, where a policy has a price. ``error.__cause__`` is
    what a model raised.
    """

    problem: Problem
    candidates: tuple[Candidate, ...]
    has_answer: bool
    error: ProblemError | None
    stopped_by: str | None
    solution: Solution | None
    usage: Usage
    overhead: Overhead
    seconds: float
    by_role: Mapping[str, Usage] = field(default_factory=dict)
    by_policy: Mapping[str, Usage] = field(default_factory=dict)
    cost: float | None = None

    @property
    def answer(self) -> str | None:
        return self.candidates[0].answer if self.has_answer else None

    @property
    def text(self) -> str:
        """The text of the chosen candidate; empty without one."""
        return self.candidates[0].text if self.has_answer else ""

    @property
    def correct(self) -> bool:
        return self.has_answer and self.candidates[0].correct

    def __repr__(self) -> str:
        return f"<ProblemResult {self._outcome}; {self._cost}>"

    def _repr_html_(self) -> str:
        """Return the answer, its cost and a drawing of the search, for a notebook."""
        title = f"{self.problem.id}: {self._outcome}"
        chosen = self.candidates[0].trajectory if self.has_answer else None
        rows = [(c.answer, c.trajectory) for c in self.candidates]
        history = self.solution.history if self.solution else ()
        return page_of(title, self._cost, self.problem.question, rows, chosen, history)

    @property
    def _outcome(self) -> str:
        if self.error is not None:
            message = " ".join(f"{type(self.error).__name__}: {self.error}".split())
            return f"error={_shortened(repr(message))}"
        stopped = f", stopped by limits.{self.stopped_by}" if self.stopped_by else ""
        return f"answer={_shortened(repr(self.answer))}{stopped}"

    @property
    def _cost(self) -> str:
        usage = self.usage
        return (
            f"{len(self.candidates)} candidates, {usage.generated_tokens:,} tokens, "
            f"{usage.reward_calls:,} reward calls, {self.seconds:.1f} s"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"
