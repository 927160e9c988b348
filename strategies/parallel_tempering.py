"""Run particle Gibbs chains at several temperings that exchange their references (parallel tempering).

Puri et al., https://arxiv.org/abs/2502.01618 (structure); Geyer (1991) for the exchange. Chain k leaves

    pi_k(x) = policy(x) r(x)^(1/T_k),    T_0 = 1 < T_1 < ...

invariant by sweeps of particle Gibbs; the hot chains move freely and pass what they find to the cold one.
After each sweep neighbouring references are swapped with probability min(1, A), where

    log A = (1/T_k - 1/T_{k+1}) (log r(x_{k+1}) - log r(x_k)).

Weighting is incremental: a swap needs the target density of a chain, and absolute weighting has none where
trajectories differ in length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge

from orchestrator.schema import Count, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution, Trajectory
from strategies.parts.concurrent import concurrently
from strategies.parts.population import Population
from strategies.parts.selection import Selection, conclude, draw
from strategies.parts.sweeps import Sweep, pool, sweep, sweep_sizes
from strategies.parts.weighting import Incremental
from strategies.parts.weights import Aggregation, readouts_for


def ladder(num_chains: int, max_tempering: float) -> list[float]:
    """Return temperings from 1 to ``max_tempering`` in equal ratios."""
    return [max_tempering ** (k / max(1, num_chains - 1)) for k in range(num_chains)]


def swap_log_odds(tempering: float, hotter: float, log_reward: float, log_reward_hotter: float) -> float:
    """Return log A of the exchange between neighbouring chains; 0 where both rewards are 0."""
    if log_reward == log_reward_hotter:
        return 0.0
    return (1 / tempering - 1 / hotter) * (log_reward_hotter - log_reward)


def swapped(
    rng: np.random.Generator, log_rewards: Sequence[float], temperings: Sequence[float], first: int
) -> list[int]:
    """Return the reference of each chain after trying the pairs (first, first + 1), then two further ..."""
    order = list(range(len(temperings)))
    for k in range(first, len(order) - 1, 2):
        log_odds = swap_log_odds(temperings[k], temperings[k + 1], log_rewards[k], log_rewards[k + 1])
        # Drawn whatever the odds, so that later draws do not shift.
        if math.log1p(-rng.random()) <= log_odds:
            order[k], order[k + 1] = order[k + 1], order[k]
    return order


@dataclass(frozen=True)
@checked("strategy")
class ParallelTempering:
    """Parallel chains of particle Gibbs, with exchanges after each round of sweeps.

    Budget N: ``num_samples`` = N particles over all chains and sweeps; where N is small there are fewer
    of both, so that each sweep has ``min_particles`` or more. ``Solution`` has the particles of every
    sweep of every chain; its ``log_weights`` are those for the cold target policy(x) r(x), normalised
    within the sweep. Step numbers in the history continue from sweep to sweep.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    num_chains: Count = 2
    num_iterations: Count = 2
    min_particles: Annotated[int, Ge(2)] = 4
    max_tempering: Annotated[float, Ge(1)] = 4.0
    aggregation: Aggregation = "last"
    selection: Selection = "argmax"

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        sizes = self._sizes()
        temperings = ladder(len(sizes[0]), self.max_tempering)
        branches = [session.fork(f"chain{k}") for k in range(len(temperings))]
        references: list[list[Trajectory]] = [[] for _ in temperings]
        sweeps: list[Sweep] = []
        for i, slots in enumerate(sizes):
            chains = zip(branches, slots, references, temperings, strict=True)
            done = await concurrently(self._sweep(*chain) for chain in chains)
            sweeps += [self._at_cold(s, t) for s, t in zip(done, temperings, strict=True)]
            if session.exhausted:
                break
            references = self._exchange(session, branches, done, temperings, first=i % 2)
        population, history = pool(sweeps)
        return await conclude(session, population, history, self.selection, self.aggregation)

    def _sizes(self) -> list[list[int]]:
        """Return slots by round of sweeps, then by chain."""
        by_chain = self._split(self.num_samples, self.num_chains)
        num_rounds = min(len(self._split(n, self.num_iterations)) for n in by_chain)
        rounds = [self._split(n, num_rounds) for n in by_chain]
        return [list(slots) for slots in zip(*rounds, strict=True)]

    def _split(self, num_slots: int, num_parts: int) -> list[int]:
        return sweep_sizes(num_slots, num_parts, self.min_particles)

    async def _sweep(
        self, branch: Session, num_slots: int, references: Sequence[Trajectory], tempering: float
    ) -> Sweep:
        return await sweep(
            branch,
            num_slots,
            references,
            max_steps=self.max_steps,
            params=self.sampling,
            weighting=Incremental(self.aggregation, 1 / tempering),
        )

    def _exchange(
        self,
        session: Session,
        branches: Sequence[Session],
        sweeps: Sequence[Sweep],
        temperings: Sequence[float],
        first: int,
    ) -> list[list[Trajectory]]:
        """Return a reference for each chain: drawn from its sweep, then perhaps swapped."""
        session.meet(branches)
        drawn = [
            population.particles[draw(branch.rng, population.log_weights)]
            for branch, (population, _) in zip(branches, sweeps, strict=True)
        ]
        potential = Incremental(self.aggregation).potential
        order = swapped(session.rng, [potential(t) for t in drawn], temperings, first)
        return [[drawn[k]] for k in order]

    def _at_cold(self, done: Sweep, tempering: float) -> Sweep:
        """Return a sweep of a hot chain with its particles' weights for the cold target."""
        if tempering == 1:
            return done
        population, history = done
        rest = Incremental(self.aggregation, 1 - 1 / tempering)
        rows = zip(population.log_weights, population.particles, strict=True)
        log_weights = tuple(w + rest.potential(t) for w, t in rows)
        return Population(population.particles, log_weights), history
