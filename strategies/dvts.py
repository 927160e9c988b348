"""Search in separate subtrees, each of which keeps its single best beam (diverse verifier tree search).

Beeching, Tunstall, Rush, "Scaling test-time compute with open models" (2024),
https://huggingface.co/spaces/HuggingFaceH4/blogpost-scaling-test-time-compute. N slots are N / M subtrees of
M continuations, and in each subtree

    the continuation with the greatest R survives, with R the aggregated reward.

Subtrees never compete, so one over-rated start cannot take all slots.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.search.session import Session
from orchestrator.types import Solution
from strategies.parts.beam_base import BeamBase


@dataclass(frozen=True)
class DiverseTreeSearch(BeamBase):
    """N / ``branching`` subtrees of ``branching`` slots. Budget N: ``num_beams`` = N.

    ``Solution`` holds every beam of each subtree's last round, as in the authors' code: those that were drawn
    equal vote separately.
    """

    def check_own(self) -> None:
        """Check nothing: every knob is shared by beam searches."""

    async def solve(self, session: Session) -> Solution:
        num_subtrees = max(1, self.num_beams // self.branching)
        # As wide as the widest subtree, so that one survives in each.
        widest = -(-self.num_beams // num_subtrees)
        return await self.search(session, branching=widest, num_subtrees=num_subtrees, offers_rounds=True)
