"""Diverse verifier tree search: beam search in separate subtrees, each keeping its single best.

Beeching, Tunstall, Rush, "Scaling test-time compute with open models" (2024). N slots are N / M subtrees
of M continuations; subtrees never compete, so that one over-rated start cannot take all the slots.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.session import Session
from orchestrator.types import Sampling, Solution
from strategies.beam_search import BeamSearch
from strategies.parts import checks
from strategies.parts.selection import Selection
from strategies.parts.weights import Aggregation, readouts_for


@dataclass(frozen=True)
class DiverseTreeSearch:
    """N / ``branching`` subtrees of ``branching`` slots.

    Budget N: ``num_beams`` = N. ``Solution`` holds the distinct trajectories of all subtrees at the end;
    its ``log_weights`` are the log-odds of the aggregated reward.
    """

    num_beams: int
    max_steps: int
    sampling: Sampling
    branching: int = 4
    look_ahead: int = 0
    aggregation: Aggregation = "last"
    selection: Selection = "argmax"

    def __post_init__(self) -> None:
        checks.at_least(1, num_beams=self.num_beams, branching=self.branching)
        self._beams()

    def _beams(self) -> BeamSearch:
        num_subtrees = max(1, self.num_beams // self.branching)
        return BeamSearch(
            num_beams=self.num_beams,
            max_steps=self.max_steps,
            sampling=self.sampling,
            # As wide as the widest subtree, so that one survives in each.
            branching=-(-self.num_beams // num_subtrees),
            look_ahead=self.look_ahead,
            num_subtrees=num_subtrees,
            aggregation=self.aggregation,
            selection=self.selection,
        )

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        return await self._beams().solve(session)
