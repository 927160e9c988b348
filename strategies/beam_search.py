"""Keep the best few partial answers after each step, and continue each in several ways (beam search).

Snell et al., "Scaling LLM Test-Time Compute Optimally", https://arxiv.org/abs/2408.03314.
Each step draws N continuations, of which N / M survive and get M continuations each; those that survive are

    the N / M greatest of  R(continuation),    or with look-ahead k of  R(continuation + k greedy steps),

with R the aggregated reward. The steps looked ahead are then discarded.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.schema import Count
from orchestrator.search.session import Session
from orchestrator.types import Solution
from strategies.parts import checks
from strategies.parts.beam_base import BeamBase


@dataclass(frozen=True)
class BeamSearch(BeamBase):
    """N slots, of which the best N / ``branching`` distinct ones survive each step.

    Budget N: ``num_beams`` = N. ``num_subtrees`` above 1 searches separately in each group of slots (see
    strategies/dvts.py).
    """

    num_subtrees: Count = 1

    def check_own(self) -> None:
        fits = self.num_subtrees <= self.num_beams
        checks.require(fits, "num_subtrees", self.num_subtrees, f"must be at most num_beams={self.num_beams}")

    async def solve(self, session: Session) -> Solution:
        return await self.search(session, branching=self.branching, num_subtrees=self.num_subtrees)
