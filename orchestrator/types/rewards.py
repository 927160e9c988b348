"""A verifier's number, as log-odds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.errors import VerifierError


@dataclass(frozen=True, slots=True)
class Reward:
    """A verifier's number: ``log_odds`` in [-inf, inf]; ``value`` = sigmoid(log_odds) in [0, 1]."""

    log_odds: float

    def __post_init__(self) -> None:
        if math.isnan(self.log_odds):
            raise VerifierError("a reward is NaN")

    @property
    def value(self) -> float:
        if self.log_odds >= 0:
            return 1.0 / (1.0 + math.exp(-self.log_odds))
        return math.exp(self.log_odds) / (1.0 + math.exp(self.log_odds))

    def reaches(self, level: float) -> bool:
        """Return whether the value is ``level`` or more; it always reaches 0 or less, and never above 1.

        Values and log-odds are rounded each in its own way: those that are equal in one form are equal.
        """
        if not 0.0 <= level <= 1.0:
            return level < 0.0
        return self.value >= level or self.log_odds >= Reward.from_value(level).log_odds

    @classmethod
    def from_value(cls, value: float) -> Reward:
        """Return the reward of a value in [0, 1]; 0 and 1 have infinite log-odds. Raises VerifierError."""
        if not 0.0 <= value <= 1.0:
            raise VerifierError(f"a reward is {value}; it must be a number in [0, 1]")
        if value in (0.0, 1.0):
            return cls(math.inf if value else -math.inf)
        return cls(math.log(value) - math.log1p(-value))

    @classmethod
    def from_log_value(cls, log_value: float) -> Reward:
        """Return the reward of the log of a value, in [-inf, 0]. Raises VerifierError outside."""
        if not log_value <= 0.0:
            raise VerifierError(f"the log of a reward is {log_value}; it must be 0 or less")
        return cls(math.inf if log_value == 0.0 else log_value - math.log(-math.expm1(log_value)))
