"""Beam search over steps: keep the best few partial answers, continue each in several ways.

Snell et al., "Scaling LLM Test-Time Compute Optimally", arXiv 2408.03314. Each step draws N
continuations, N / M of them survive by reward and get M continuations each. With ``look_ahead`` k a
continuation is judged by the reward it has after k greedy steps more, which are then thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts import checks
from strategies.parts.beams import rewards_ahead, shared, split_slots, survivors, without_copies
from strategies.parts.population import Choice, Choose, Population, by_one_step, fresh, pick, propagate
from strategies.parts.selection import SELECTIONS, Selection, conclude
from strategies.parts.weighting import Absolute
from strategies.parts.weights import AGGREGATIONS, Aggregation, readouts_for


@dataclass(frozen=True)
class BeamSearch:
    """N slots, of which the best N / ``branching`` distinct ones survive each step.

    ``num_subtrees`` above 1 searches apart in each group of slots (see strategies/dvts.py). Beams are
    distinct token sequences, those that have ended compete with the others and keep one slot, and the
    results are distinct too. Budget N: ``num_beams`` = N; each step of ``look_ahead`` costs up to as much
    again. ``Solution.log_weights``: the log-odds of the aggregated reward.
    """

    num_beams: int
    max_steps: int
    sampling: Sampling
    branching: int = 4
    look_ahead: int = 0
    num_subtrees: int = 1
    aggregation: Aggregation = "last"
    selection: Selection = "argmax"

    def __post_init__(self) -> None:
        checks.at_least(1, num_beams=self.num_beams, max_steps=self.max_steps, branching=self.branching)
        checks.at_least(1, num_subtrees=self.num_subtrees)
        checks.at_least(0, look_ahead=self.look_ahead)
        fits = self.num_subtrees <= self.num_beams
        checks.require(fits, "num_subtrees", self.num_subtrees, f"must be at most num_beams={self.num_beams}")
        checks.sampling(self.sampling)
        checks.one_of(AGGREGATIONS, aggregation=self.aggregation)
        checks.one_of(SELECTIONS, selection=self.selection)

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        population, history = await propagate(
            session,
            fresh(self.num_beams),
            max_steps=self.max_steps,
            extend=by_one_step(session, self.sampling),
            weigh=Absolute(self.aggregation, epsilon=0.0).weigh,
            choose=self._choose(session),
        )
        different = without_copies(population)
        return await conclude(session, different, history, self.selection, self.aggregation)

    def _choose(self, session: Session) -> Choose:
        groups = split_slots(self.num_beams, self.num_subtrees)

        async def choose(step: int, population: Population) -> Choice:
            # Nothing lies ahead of the last step.
            num_ahead = min(self.look_ahead, self.max_steps - step)
            scores = await rewards_ahead(session, population, self.sampling, num_ahead, self.aggregation)
            ancestors: list[int] = []
            for slots in groups:
                keep = max(1, len(slots) // self.branching)
                kept = survivors(population.particles, scores, slots, keep)
                ancestors += shared(population.particles, kept, len(slots))
            return pick(population, ancestors)

        return choose
