"""A vote by features of the text: the chance that a logistic regression gives a sample of being right."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.allocation.wording import Lists, features
from orchestrator.schema import checked
from orchestrator.types import Trajectory
from strategies.parts import checks
from strategies.parts.weights import log_sigmoid


@dataclass(frozen=True)
@checked("strategy.plan")
class VotePlan:
    """The vote 1 / (1 + exp(-(intercept + coefficients . features))), in (0, 1).

    Features are tokens, steps, and the phrases of each list of ``words`` per 1,000 tokens; a list is a text
    with a phrase on each line.
    ``python -m orchestrator.allocation features`` makes a plan.
    """

    coefficients: tuple[float, ...]
    intercept: float
    words: tuple[str, ...]
    digest: str = ""

    def __post_init__(self) -> None:
        num = 2 + len(self.words)
        allowed = f"must be {num}, for tokens, steps and {num - 2} lists of words"
        checks.require(len(self.coefficients) == num, "plan.coefficients", len(self.coefficients), allowed)

    @property
    def _lists(self) -> Lists:
        return tuple(tuple(words.splitlines()) for words in self.words)

    def __call__(self, trajectory: Trajectory, /) -> float:
        """Return the vote of a sample."""
        row = features(trajectory.text, trajectory.num_tokens, len(trajectory.steps), self._lists)
        log_odds = self.intercept + math.fsum(c * x for c, x in zip(self.coefficients, row, strict=True))
        return math.exp(log_sigmoid(log_odds))
