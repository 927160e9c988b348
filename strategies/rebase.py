"""Share the next level's samples among partial answers in proportion to their softmax reward (REBASE).

Wu et al., "Inference Scaling Laws", https://arxiv.org/abs/2408.00724. With B slots left for active nodes of
rewards R in [0, 1], node i gets children in proportion to

    w_i = exp(R_i / balance_temperature);

those that get none are dropped, and an answer that has ended keeps one slot. Shares are rounded as in the
authors' code, from the greatest reward down, so that they add up to B and the best are favoured:

    children = ceil(slots left  w_i / sum of the w left)

Its votes weigh by the reward R. Rounding by largest remainder, and votes by the odds R / (1 - R), are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from orchestrator.schema import Count, Positive, checked
from orchestrator.search.session import Session
from orchestrator.types import Reward, Sampling, Solution
from strategies.parts.beams import search_by_reward
from strategies.parts.population import Choice, Population, keep, pick
from strategies.parts.selection import Selection, conclude
from strategies.parts.weights import Aggregation, LogWeights, log_sigmoid, normalise, readouts_for


def rounded_up(values: Sequence[float], temperature: float, num_slots: int) -> list[int]:
    """Return shares of ``num_slots``, proportional to exp(value / temperature), each rounded up.

    The greatest value is served first (a tie goes to the first), and the others share what it leaves.
    """
    order = np.argsort(-np.asarray(values), kind="stable")
    ranked = np.asarray(values)[order]
    shares, num_left = [0] * len(values), num_slots
    for rank, i in enumerate(order):
        # Against the greatest that is left: however low the temperature, its own weight is 1.
        part = 1.0 / np.exp((ranked[rank:] - ranked[rank]) / temperature).sum()
        # A product that rounding alone puts above an integer is that integer.
        shares[i] = min(num_left, math.ceil(num_left * part - 1e-9))
        num_left -= shares[i]
    return shares


def by_remainder(values: Sequence[float], temperature: float, num_slots: int) -> list[int]:
    """Return the same shares, rounded by largest remainder; ties go to the first."""
    expected = num_slots * normalise(np.asarray(values) / temperature)
    shares = np.floor(expected + 1e-9).astype(int)
    order = np.argsort(shares - expected, kind="stable")
    shares[order[: num_slots - int(shares.sum())]] += 1
    return [int(share) for share in shares]


_ROUNDINGS = {"up": rounded_up, "remainder": by_remainder}


@dataclass(frozen=True)
@checked("strategy")
class Rebase:
    """N slots, shared again at each level. Budget N: ``num_samples`` = N.

    ``Solution`` holds one trajectory per slot, where equal answers were drawn separately and all vote; its
    ``log_weights`` are the log of the aggregated reward, or with ``vote_by="odds"`` its log-odds.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    balance_temperature: Positive = 1.0
    rounding: Literal["up", "remainder"] = "up"
    vote_by: Literal["reward", "odds"] = "reward"
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
        weighed = Population(population.particles, self._votes(population.log_weights))
        return await conclude(session, weighed, history, self.selection, self.aggregation)

    def _votes(self, log_odds: LogWeights) -> LogWeights:
        return log_odds if self.vote_by == "odds" else tuple(map(log_sigmoid, log_odds))

    async def _choose(self, step: int, population: Population) -> Choice:
        del step
        particles = population.particles
        finished = [i for i, t in enumerate(particles) if t.finished]
        active = [i for i, t in enumerate(particles) if t.active]
        if not active:
            return keep(population)
        values = [Reward(population.log_weights[i]).value for i in active]
        share_out = _ROUNDINGS[self.rounding]
        shares = share_out(values, self.balance_temperature, self.num_samples - len(finished))
        children = [i for i, share in zip(active, shares, strict=True) for _ in range(share)]
        return pick(population, finished + children)
