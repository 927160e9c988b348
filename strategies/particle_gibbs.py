"""Run particle filters in sequence, each guided by an answer of the previous one (particle Gibbs).

Andrieu, Doucet, Holenstein, "Particle Markov chain Monte Carlo methods" (2010),
https://doi.org/10.1111/j.1467-9868.2009.00736.x; for language models Puri et al.,
https://arxiv.org/abs/2502.01618. A sweep is a particle filter with a *reference*, a whole trajectory that
holds slot 0: its first t steps are that slot's particle at step t, with the rewards they had. The other
slots may fork it there and continue independently; slot 0 is never redrawn. The next reference is drawn after
the last step:

    P(reference = i) = softmax(log-weights)_i

Under incremental weighting the sweep leaves its target, policy(x) r(x), invariant. Absolute weighting, as
published, has a fixed target only where all trajectories are equally long: elsewhere nothing is left
invariant, and the sweeps are a heuristic. So are several references, drawn without replacement and held side
by side.

With *ancestor sampling* (Lindsten, Jordan, Schoen, 2014, https://arxiv.org/abs/1401.0604) the reference's
past is redrawn at each step, by

    weight_i  x  policy(rest of the reference | particle i)  x  r(particle i + rest) / r(particle i).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Lt

from orchestrator.schema import Count, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution, Trajectory
from strategies.parts import checks
from strategies.parts.population import Population
from strategies.parts.selection import Selection, conclude, draw
from strategies.parts.sweeps import Sweep, pool, sweep, sweep_sizes
from strategies.parts.weighting import Weighting, WeightingName, weighting
from strategies.parts.weights import Aggregation, readouts_for


@dataclass(frozen=True)
@checked("strategy")
class ParticleGibbs:
    """Sweeps of particles, each guided by a reference from the previous one.

    Budget N: ``num_samples`` = N particles over all sweeps; where N is small there are fewer sweeps, so
    that each has ``min_particles`` or more. ``Solution`` has the particles of every sweep; its
    ``log_weights`` are the logs of the weights within the sweep, which sum to 1 there. Step numbers
    in the history continue from sweep to sweep.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    num_iterations: Count = 4
    min_particles: Annotated[int, Ge(2)] = 4
    num_references: Count = 1
    weighting: WeightingName | Weighting = "incremental"
    aggregation: Aggregation = "last"
    epsilon: Annotated[float, Ge(0), Lt(0.5)] = 1e-7
    ancestor_sampling: bool = False
    selection: Selection = "argmax"

    def __post_init__(self) -> None:
        exact = self.weighting == "incremental" and self.aggregation in ("last", "model")
        policy = self.sampling.temperature == 1 and self.sampling.top_p == 1
        allowed = "needs weighting=incremental, aggregation=last, sampling.temperature=1 and sampling.top_p=1"
        checks.require(
            not self.ancestor_sampling or (exact and policy),
            "ancestor_sampling",
            self.ancestor_sampling,
            allowed,
        )

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        sweeps: list[Sweep] = []
        references: list[Trajectory] = []
        for num_slots in sweep_sizes(self.num_samples, self.num_iterations, self.min_particles):
            # At least one slot is free, or nothing new could be found.
            sweeps.append(await self._sweep(session, num_slots, references[: num_slots - 1]))
            if session.exhausted:
                break
            references = draw_several(session.rng, sweeps[-1][0], self.num_references)
        population, history = pool(sweeps)
        return await conclude(session, population, history, self.selection, self.aggregation)

    async def _sweep(self, session: Session, num_slots: int, references: Sequence[Trajectory]) -> Sweep:
        return await sweep(
            session,
            num_slots,
            references,
            max_steps=self.max_steps,
            params=self.sampling,
            weighting=weighting(self.weighting, self.aggregation, self.epsilon),
            ancestor_sampling=self.ancestor_sampling,
        )


def draw_several(rng: np.random.Generator, population: Population, num: int) -> list[Trajectory]:
    """Draw particles by weight, one slot after the other, none twice; all of them where ``num`` is larger."""
    left = list(range(len(population.particles)))
    drawn: list[int] = []
    while left and len(drawn) < num:
        drawn.append(left.pop(draw(rng, [population.log_weights[i] for i in left])))
    return [population.particles[i] for i in drawn]
