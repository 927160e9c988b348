"""Filter particles, and flatten confident weights early in the search (entropic particle filtering).

https://arxiv.org/abs/2510.05825. Two additions to the plain filter, which it equals when both are off:

- *Entropic annealing*: while ESS / N is low and the search is early, resample from
  softmax(log-weight / T) with T > 1 (formulas in strategies/parts/tempering.py).
- *Look-ahead modulation*, a reconstruction (the paper gives the idea): resample by
  beta (l_t + l_{t+1}), product, or beta l_{t+1}, successor, where l_{t+1} is the log-odds of one
  successor's reward. ``fresh`` draws a successor for it, then discards it: 2N policy and 2N reward
  calls a step. ``reuse`` continues with that successor, which makes it the plain loop
  weighed by the last two rewards, without extra calls. Under incremental weighting the looked-ahead
  weights of ``fresh`` have a floor, .05 W_i at any beta: another successor may be right where the first
  had the reward 0, and a particle that could never be drawn would bias the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.schema import Positive, Probability
from orchestrator.search.session import Session
from orchestrator.types import Solution, Trajectory
from strategies.parts import checks
from strategies.parts.choosing import LookAhead, now_only
from strategies.parts.filter_base import FilterBase
from strategies.parts.population import Population, extend_and_score
from strategies.parts.resampling import Scheme
from strategies.parts.tempering import Annealing, AnnealingName, Schedule
from strategies.parts.weighting import weighting
from strategies.parts.weights import LogWeights, log_product

_LOG_FLOOR = math.log(0.05)


@dataclass(frozen=True)
class EntropicParticleFilter(FilterBase):
    """N particles; the plain filter's ``Solution.log_weights``, which are never tempered.

    Budget N: ``num_particles`` = N; ``look_ahead=fresh`` spends up to twice that, as the ledger shows.
    With incremental weighting annealing and ``fresh`` change the proposal only: the evidence stays
    unbiased.
    """

    resampling: Scheme = "systematic"
    annealing: AnnealingName | Schedule = "ess"
    annealing_threshold: Probability = 0.5
    early_phase: Probability = 0.5
    look_ahead: Literal["off", "reuse", "fresh"] = "off"
    look_ahead_weight: Literal["product", "successor"] = "product"
    beta: Positive = 1.0

    def check_own(self) -> None:
        mixed = self.look_ahead == "reuse" and self.weighting == "incremental"
        allowed = "must be off or fresh with incremental weighting, whose weights hold both rewards already"
        checks.require(not mixed, "look_ahead", self.look_ahead, allowed)
        known = self.look_ahead == "off" or isinstance(self.weighting, str)
        allowed = "must be off with a weighting of your own: how it combines two rewards is not known"
        checks.require(known, "look_ahead", self.look_ahead, allowed)

    async def solve(self, session: Session) -> Solution:
        tempering = Annealing(self.annealing, self.max_steps, self.annealing_threshold, self.early_phase)
        return await self.search(session, tempering, self._look_ahead(session))

    def _look_ahead(self, session: Session) -> LookAhead:
        """Return the log-weights to resample by."""

        async def reuse(step: int, population: Population) -> LogWeights:
            before = [_up_to(t, step - 1) for t in population.particles]
            return self._modulate(Population(tuple(before), ()), population.particles)

        async def fresh(_: int, population: Population) -> LogWeights:
            successors = await extend_and_score(session, population.particles, self.sampling)
            return self._modulate(population, successors)

        return {"off": now_only, "reuse": reuse, "fresh": fresh}[self.look_ahead]

    def _modulate(self, parents: Population, successors: Sequence[Trajectory]) -> LogWeights:
        weighed_by = weighting(self.weighting, self.aggregation, self.epsilon)
        ahead = weighed_by.weigh(parents, successors)
        if self.weighting == "incremental":
            rows = zip(ahead, parents.log_weights, strict=True)
            return tuple(float(np.logaddexp(self.beta * a, w + _LOG_FLOOR)) for a, w in rows)
        now = [0.0] * len(ahead)
        if self.look_ahead_weight == "product":
            present = weighed_by.weigh(parents, parents.particles)
            # Before the first step there is no reward to multiply by.
            now = [x if t.steps else 0.0 for x, t in zip(present, parents.particles, strict=True)]
        return tuple(self.beta * log_product(a, b) for a, b in zip(now, ahead, strict=True))


def _up_to(trajectory: Trajectory, num_steps: int) -> Trajectory:
    """Return the first steps; one that ended before is unchanged and counts its last reward again."""
    return trajectory.with_steps(trajectory.steps[:num_steps])
