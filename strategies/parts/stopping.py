"""When enough samples are drawn: the rules by which a search stops before its budget.

A rule reads rewards or votes, in the order of the samples' numbers and never in that of arrival.

    threshold   a sample has a reward of ``at`` or more
    beta        the leader is ahead of the runner-up with confidence ``at``: for their votes a and b, with
                X ~ Beta(a + 1, b + 1),    P(X > 1/2) = P(Bin(a + b + 1, 1/2) <= a) >= at
    decided     no sample still to come can change the answer

``beta`` is Adaptive-Consistency (Aggarwal et al., https://arxiv.org/abs/2305.11860). "Adaptive Inference-Time
Compute" (https://arxiv.org/abs/2410.02725) stops at a predicted chance of being right; ``threshold`` stops at
a verifier's reward. One threshold for all problems spends most where most is gained.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge

from orchestrator.schema import CountOrZero, Words
from strategies.parts import checks

StopRule = Literal["none", "threshold", "beta", "decided"]
_DEFAULT_AT = {"threshold": 0.9, "beta": 0.95}
_At = Annotated[float | None, Ge(0), Words("must be a number of 0 or more, or null for the rule's own")]


@dataclass(frozen=True)
class Stop:
    """A rule, its level, and how many samples are generated ahead of the one that is judged.

    ``at`` is a reward for ``threshold`` (0.9 by default; above 1 nothing stops), a confidence for ``beta``
    (0.95). With ``ahead`` above 0 a search waits less: that many samples are generated beyond those that are
    judged. Where it stops they are cancelled, and what they cost is overhead; the answer is the same.
    """

    rule: StopRule = "none"
    at: _At = None
    ahead: CountOrZero = 0

    def __post_init__(self) -> None:
        has_level = self.rule in _DEFAULT_AT
        checks.require(
            self.at is None or has_level, "stop.at", self.at, "needs strategy.stop.rule=threshold or beta"
        )

    @property
    def level(self) -> float:
        """The level of the rule; NaN for a rule without one."""
        return _DEFAULT_AT.get(self.rule, math.nan) if self.at is None else self.at

    def wave_size(self, given: int, num_samples: int) -> int:
        """Return how many samples are drawn before each decision; ``given`` is a knob, where 0 is unset."""
        return given or (1 if self.rule in _DEFAULT_AT else num_samples)


NEVER = Stop()
DECIDED = Stop("decided")


def lead_confidence(num_first: int, num_second: int) -> float:
    """Return the chance that the first of two answers is the more frequent one, given their votes.

    It is P(X > 1/2) of X ~ Beta(first + 1, second + 1), exactly.
    """
    trials = num_first + num_second + 1
    fewer = sum(math.comb(trials, i) for i in range(num_first + 1))
    return fewer / (1 << trials)


def confidence_of(keys: Sequence[str | None]) -> float:
    """Return the confidence in the leader of a vote by its keys; answers that cannot be read do not vote."""
    votes = [num for _, num in Counter(key for key in keys if key is not None).most_common(2)]
    first, second = (*votes, 0, 0)[:2]
    return lead_confidence(first, second)
