"""Run particle filters in a row, each led by an answer of the one before (particle Gibbs).

Andrieu, Doucet, Holenstein, "Particle Markov chain Monte Carlo methods" (2010),
https://doi.org/10.1111/j.1467-9868.2009.00736.x; for language models Puri et al.,
https://arxiv.org/abs/2502.01618. A sweep is a particle filter with a *reference*, a whole trajectory that
holds slot 0: its first t steps are that slot's particle at step t, with the rewards they had. The other
slots may fork it there and go on by themselves; slot 0 is never redrawn. The next reference is drawn after
the last step:

    P(reference = i) = softmax(log-weights)_i

The sweep leaves the filter's target invariant. (With several references, drawn without replacement and held
side by side, that is not proven: a heuristic.)

With *ancestor sampling* (Lindsten, Jordan, Schoen, 2014, https://arxiv.org/abs/1401.0604) the reference's
past is redrawn at each step, by

    weight_i  x  policy(rest of the reference | particle i)  x  r(particle i + rest) / r(particle i).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Lt

from orchestrator.schema import Count, checked
from orchestrator.session import Session
from orchestrator.types import Params, Sampling, Solution, StepRecord, Trajectory
from strategies.parts import checks
from strategies.parts.choosing import redraw
from strategies.parts.population import Choice, Population, extend_and_score, fresh, propagate
from strategies.parts.resampling import multinomial
from strategies.parts.selection import Selection, conclude, draw
from strategies.parts.weighting import Incremental, Weighting, WeightingName, weighting
from strategies.parts.weights import Aggregation, log_sum_exp, normalise, readouts_for

Sweep = tuple[Population, tuple[StepRecord, ...]]


@dataclass
class _Reference:
    """The trajectory that a slot follows; ancestor sampling replaces it on the way."""

    trajectory: Trajectory

    def up_to(self, num_steps: int) -> Trajectory:
        """At step t it has min(t, its length) steps, and the reward it had there."""
        return Trajectory(self.trajectory.steps[:num_steps])


async def sweep(
    session: Session,
    num_slots: int,
    references: Sequence[Trajectory],
    *,
    max_steps: int,
    params: Params,
    weighting: Weighting,
    ancestor_sampling: bool = False,
) -> Sweep:
    """A conditional particle filter: the first slots follow ``references``; without any, a plain filter.

    Resampling is multinomial at every step: the scheme for which pinning a slot is exact. Ancestor
    sampling moves the first reference.
    """
    held = [_Reference(t) for t in references]
    num_pinned = len(held)

    async def extend(step: int, parents: Population) -> Sequence[Trajectory]:
        pinned = [reference.up_to(step) for reference in held]
        return [*pinned, *await extend_and_score(session, parents.particles[num_pinned:], params)]

    async def choose(step: int, population: Population) -> Choice:
        probabilities = normalise(population.log_weights)
        ancestors = np.arange(num_slots)
        ancestors[num_pinned:] = multinomial(session.rng, probabilities, num_slots - num_pinned)
        if held and ancestor_sampling:
            ancestors[0] = await _redraw_past(session, held[0], step, population)
        return redraw(population, weighting, probabilities, ancestors)

    start = fresh(num_slots)
    return await propagate(
        session, start, max_steps=max_steps, extend=extend, weigh=weighting.weigh, choose=choose
    )


async def _redraw_past(session: Session, held: _Reference, step: int, population: Population) -> int:
    """Draw the slot that the rest of the reference goes on from, and make that the reference."""
    rest = tuple(replace(s, reward=None) for s in held.trajectory.steps[step:])
    if not rest:
        return 0
    open_slots = [i for i, t in enumerate(population.particles) if i and t.active and len(t.steps) == step]
    slots = [0, *open_slots]
    particles = [population.particles[i] for i in slots]
    scored = await session.score([t.extend(*rest) for t in particles[1:]])
    log_liks = [sum(await session.loglik(t, rest)) for t in particles]
    if session.exhausted:
        return 0
    joined = [held.trajectory, *scored]
    before = Population(tuple(particles), tuple(population.log_weights[i] for i in slots))
    log_weights = np.asarray(Incremental().weigh(before, joined)) + log_liks
    drawn = draw(session.rng, log_weights.tolist())
    held.trajectory = joined[drawn]
    return slots[drawn]


@dataclass(frozen=True)
@checked("strategy")
class ParticleGibbs:
    """Sweeps of particles, the last led by a reference from the one before.

    Budget N: ``num_samples`` = N particles over all sweeps; where N is small there are fewer sweeps, so
    that each has two particles at least. ``Solution`` offers the particles of every sweep; its
    ``log_weights`` are the logs of the weights within the sweep, which sum to 1 there. Steps in the
    history count on from sweep to sweep.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count
    max_steps: Count
    sampling: Sampling
    num_iterations: Count = 4
    num_references: Count = 1
    weighting: WeightingName | Weighting = "absolute"
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
        for num_slots in sweep_sizes(self.num_samples, self.num_iterations):
            # One slot at least is free, or nothing new could be found.
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
    """Particles drawn by weight, one slot after the other, none twice; all of them where ``num`` is more."""
    left = list(range(len(population.particles)))
    drawn: list[int] = []
    while left and len(drawn) < num:
        drawn.append(left.pop(draw(rng, [population.log_weights[i] for i in left])))
    return [population.particles[i] for i in drawn]


def sweep_sizes(num_samples: int, num_iterations: int) -> list[int]:
    """How many slots each sweep has: as even as can be, two at least, one where there is but one."""
    num_sweeps = min(num_iterations, max(1, num_samples // 2))
    each, rest = divmod(num_samples, num_sweeps)
    return [each + (i < rest) for i in range(num_sweeps)]


def pool(sweeps: Sequence[Sweep]) -> Sweep:
    """The particles of every sweep, weighed within it, and one history whose steps count on."""
    particles = tuple(t for population, _ in sweeps for t in population.particles)
    log_weights = tuple(
        x - total if np.isfinite(total := log_sum_exp(p.log_weights)) else x
        for p, _ in sweeps
        for x in p.log_weights
    )
    records = [record for _, history in sweeps for record in history]
    return Population(particles, log_weights), tuple(replace(r, step=i) for i, r in enumerate(records, 1))
