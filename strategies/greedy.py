"""Decode the policy's most likely token each time, once (greedy decoding): the baseline of every comparison.

The policy at temperature 0:

    token_t = argmax_v policy(v | question, token_1 ... token_{t-1})
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution, Trajectory
from strategies.parts.population import Population
from strategies.parts.selection import conclude


@dataclass(frozen=True)
@checked("strategy")
class Greedy:
    """One sample at temperature 0; no reward calls.

    Budget N: not read; the cost is one sample for any budget. ``Solution.log_weights``: 0, one vote.
    """

    budget_knob: ClassVar[str | None] = None
    independent_samples: ClassVar[bool] = False
    whole_answers: ClassVar[bool] = True
    num_answers: ClassVar[int] = 1

    max_tokens: Count = 2048

    @property
    def readouts(self) -> tuple[str, ...]:
        return ()

    async def solve(self, session: Session) -> Solution:
        sampling = Sampling(temperature=0.0, max_tokens=self.max_tokens)
        particles = tuple(await session.generate([Trajectory()], sampling, to_end=True))
        return await conclude(session, Population(particles, (0.0,)), (), "argmax", "last")
