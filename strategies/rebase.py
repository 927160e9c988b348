"""Share the next level's samples among partial answers in proportion to their softmax reward (REBASE).

Wu et al., "Inference Scaling Laws", https://arxiv.org/abs/2408.00724. With B slots left for active nodes of
rewards R in [0, 1], node i gets

    B softmax(R / balance_temperature)_i    children;

those that get none are dropped, and an answer that has ended keeps one slot. Shares are rounded by
largest remainder, so that they add up to B (the paper rounds each by itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from orchestrator.schema import Count, Positive, checked
from orchestrator.search.session import Session
from orchestrator.types import Reward, Sampling, Solution
from strategies.parts.beams import search_by_reward
from strategies.parts.population import Choice, Population, keep, pick
from strategies.parts.selection import Selection, conclude
from strategies.parts.weights import Aggregation, normalise, readouts_for


def allocate(values: Sequence[float], temperature: float, num_slots: int) -> list[int]:
    """Return shares of ``num_slots``, proportional to exp(value / temperature); ties go to the first."""
    expected = num_slots * normalise(np.asarray(values) / temperature)
    shares = np.floor(expected + 1e-9).astype(int)
    by_remainder = np.argsort(shares - expected, kind="stable")
    shares[by_remainder[: num_slots - int(shares.sum())]] += 1
    return [int(share) for share in shares]


@dataclass(frozen=True)
@checked("strategy")
class Rebase:
    """N slots, shared again at each level. Budget N: ``num_samples`` = N.

    ``Solution`` holds one trajectory per slot, where equal answers were drawn separately and all vote; its
    ``log_weights`` are the log-odds of the aggregated reward.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    balance_temperature: Positive = 0.2
    aggregation: Aggregation = "last"
    selection: Selection = "weighted_majority"

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        population, history = await search_by_reward(
            session,
            self.num_samples,
            max_steps=self.max_steps,
            sampling=self.sampling,
            aggregation=self.aggregation,
            choose=self._choose,
        )
        return await conclude(session, population, history, self.selection, self.aggregation)

    async def _choose(self, step: int, population: Population) -> Choice:
        del step
        particles = population.particles
        finished = [i for i, t in enumerate(particles) if t.finished]
        active = [i for i, t in enumerate(particles) if t.active]
        if not active:
            return keep(population)
        values = [Reward(population.log_weights[i]).value for i in active]
        shares = allocate(values, self.balance_temperature, self.num_samples - len(finished))
        children = [i for i, share in zip(active, shares, strict=True) for _ in range(share)]
        return pick(population, finished + children)
