"""What sweeping samplers share: a conditional particle filter, and the number of particles of each sweep.

Andrieu, Doucet, Holenstein (2010), https://doi.org/10.1111/j.1467-9868.2009.00736.x: the conditional filter;
``particle_gibbs`` describes how a sweep leads to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import eq

import numpy as np

from orchestrator.search.session import Session
from orchestrator.types import Params, Step, StepRecord, Trajectory
from strategies.parts.choosing import redraw
from strategies.parts.population import Choice, Population, extend_and_score, fresh, propagate
from strategies.parts.resampling import multinomial
from strategies.parts.selection import draw
from strategies.parts.weighting import Incremental, Weighting
from strategies.parts.weights import log_sum_exp, normalise

Sweep = tuple[Population, tuple[StepRecord, ...]]


@dataclass
class _Reference:
    """The trajectory that a slot follows; ancestor sampling replaces it meanwhile."""

    trajectory: Trajectory

    def up_to(self, num_steps: int) -> Trajectory:
        """Return its first min(t, length) steps, with the reward it had there."""
        return self.trajectory.with_steps(self.trajectory.steps[:num_steps])


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
    """Run a conditional particle filter: the first slots follow ``references``; without any, a plain filter.

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
    """Draw the slot that the rest of the reference continues from, and make that the reference.

    A slot's weight grows by the likelihood of the rest given all that the slot has drawn, the tokens that
    it carries into its next step included.
    """
    rest = tuple(replace(s, reward=None) for s in held.trajectory.steps[step:])
    if not rest:
        return 0
    slots = [0, *(i for i, t in enumerate(population.particles) if i and _may_continue(t, step, rest))]
    particles = [population.particles[i] for i in slots]
    scored = await session.score([t.extend(*rest) for t in particles[1:]])
    log_liks = [sum(await session.loglik(t, rest)) - _log_carried(t, rest) for t in particles]
    if session.exhausted:
        return 0
    joined = [held.trajectory, *scored]
    before = Population(tuple(particles), tuple(population.log_weights[i] for i in slots))
    log_weights = np.asarray(Incremental().weigh(before, joined)) + log_liks
    drawn = draw(session.rng, log_weights.tolist())
    held.trajectory = joined[drawn]
    return slots[drawn]


def _may_continue(particle: Trajectory, step: int, rest: Sequence[Step]) -> bool:
    """Return whether ``rest`` can follow a particle: it is open, and ``rest`` begins with what it carries."""
    if not particle.active or len(particle.steps) != step:
        return False
    return particle.carried is None or all(map(eq, particle.carried.token_ids, _ids(rest)))


def _log_carried(particle: Trajectory, rest: Sequence[Step]) -> float:
    """Return the log-probability of the tokens of ``rest`` that a particle has drawn with its last step."""
    carried = particle.carried
    return 0.0 if carried is None else sum(x for x, _ in zip(carried.logprobs, _ids(rest), strict=False))


def _ids(steps: Sequence[Step]) -> Iterator[int]:
    return chain.from_iterable(step.token_ids for step in steps)


def sweep_sizes(num_samples: int, num_iterations: int, min_slots: int) -> list[int]:
    """Return the slots of each sweep, as even as possible: at least ``min_slots``, or all in one sweep."""
    num_sweeps = min(num_iterations, max(1, num_samples // min_slots))
    each, rest = divmod(num_samples, num_sweeps)
    return [each + (i < rest) for i in range(num_sweeps)]


def pool(sweeps: Sequence[Sweep]) -> Sweep:
    """Return the particles of every sweep, weighed within it, and one history with continued step numbers."""
    particles = tuple(t for population, _ in sweeps for t in population.particles)
    log_weights = tuple(
        x - total if np.isfinite(total := log_sum_exp(p.log_weights)) else x
        for p, _ in sweeps
        for x in p.log_weights
    )
    records = [record for _, history in sweeps for record in history]
    return Population(particles, log_weights), tuple(replace(r, step=i) for i, r in enumerate(records, 1))
