"""Sample several whole answers and take the one that most of them agree on (self-consistency).

Wang et al., "Self-Consistency Improves Chain of Thought Reasoning in Language Models",
https://arxiv.org/abs/2203.11171:

    answer = argmax_a  sum over the samples i whose answer is equivalent to a of  weight_i,

where weight_i is 1 (``count``), the sample's reward in [0, 1] (``reward``, Li et al.,
https://arxiv.org/abs/2206.02336) or its likelihood a token (``likelihood``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count, CountOrZero, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts.majority_vote import MajorityVote, TieBreak, VoteWeight
from strategies.parts.weights import Aggregation, readouts_for


@dataclass(frozen=True)
@checked("strategy")
class SelfConsistency:
    """N samples and their vote. Budget N: ``num_samples`` = N; a plain vote makes no reward calls."""

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = True
    whole_answers: ClassVar[bool] = True

    num_samples: Count
    sampling: Sampling
    weight: VoteWeight = "count"
    aggregation: Aggregation = "last"
    tie_break: TieBreak = "earliest"
    wave_size: CountOrZero = 0

    def __post_init__(self) -> None:
        self._vote()

    def _vote(self) -> MajorityVote[Sampling]:
        paths = [self.sampling] * self.num_samples
        return MajorityVote(paths, self.weight, self.aggregation, self.tie_break, self.wave_size)

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation) if self.weight == "reward" else ()

    async def solve(self, session: Session) -> Solution:
        return await self._vote().solve(session)
