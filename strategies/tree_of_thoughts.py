"""Propose several thoughts for each state, drop the bad and keep the best (tree of thoughts, breadth first).

Yao et al., https://arxiv.org/abs/2305.10601, with a verifier as the state evaluator: of the thoughts with

    R >= threshold,    R the aggregated reward,

the best N / M each propose M thoughts for the next level. The others are pruned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count, Probability, checked
from orchestrator.search.session import Session
from orchestrator.types import Reward, Sampling, Solution
from strategies.parts.beams import search_by_reward, survivors, without_copies
from strategies.parts.population import Choice, Population, pick
from strategies.parts.selection import Selection, conclude
from strategies.parts.weights import Aggregation, readouts_for


@dataclass(frozen=True)
@checked("strategy")
class TreeOfThoughts:
    """At most N / ``branching`` states per level, ``branching`` thoughts for each: pruned states save tokens.

    A level where every thought is below the threshold keeps its best one, so that a search always has a
    result. Budget N: ``num_thoughts`` = N a level. ``Solution`` holds distinct trajectories; its
    ``log_weights`` are the log-odds of the aggregated reward.
    """

    budget_knob: ClassVar[str] = "num_thoughts"
    independent_samples: ClassVar[bool] = False

    num_thoughts: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    branching: Count = 4
    threshold: Probability = 0.1
    aggregation: Aggregation = "last"
    selection: Selection = "argmax"

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        population, history = await search_by_reward(
            session,
            self.num_thoughts,
            max_steps=self.max_steps,
            sampling=self.sampling,
            aggregation=self.aggregation,
            choose=self._choose,
        )
        different = without_copies(population)
        return await conclude(session, different, history, self.selection, self.aggregation)

    async def _choose(self, step: int, population: Population) -> Choice:
        del step
        particles, log_odds = population.particles, population.log_weights
        breadth = max(1, self.num_thoughts // self.branching)
        best = survivors(particles, log_odds, range(len(particles)), breadth)
        kept = [i for i in best if Reward(log_odds[i]).reaches(self.threshold)] or best[:1]
        thoughts = min(self.branching, self.num_thoughts)
        return pick(population, [i for i in kept for _ in range(thoughts if particles[i].active else 1)])
