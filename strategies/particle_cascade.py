"""Filter particles that do not wait for each other (the particle cascade).

Paige, Wood, Doucet, Teh, "Asynchronous Anytime Sequential Monte Carlo", NeurIPS 2014,
https://arxiv.org/abs/1407.2864. A particle that arrives at step t, as the k-th there, with weight W, is
compared with the mean W_mean of the k that have arrived so far, and branches at once. With R = W / W_mean:

    R < 1     it continues with probability R, and the weight W_mean
    R >= 1    it continues as M copies of weight W / M each; M is R rounded up or down at random

Either way the expected weight that continues is W, so the evidence is unbiased in any order of arrival. The
first to arrive always continues. The number of particles varies around that of the first step, so the search
starts with less than its budget, and M is also at most what the remaining steps can finish (ours).
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from orchestrator.schema import Count, Words, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution, StepRecord, Trajectory
from strategies.parts.population import Population, extend_and_score
from strategies.parts.selection import Selection, conclude
from strategies.parts.weighting import Absolute, Weighting, WeightingName, weighting
from strategies.parts.weights import (
    Aggregation,
    effective_sample_size,
    log_mean_exp,
    log_product,
    normalise,
    normalised_entropy,
    readouts_for,
)


@dataclass(frozen=True)
@checked("strategy")
class ParticleCascade:
    """Particles that never wait: by nature the answer depends on the order of arrival.

    ``weighting``: *incremental* grows a log-weight by log r_t - log r_{t-1}; *absolute* by the clipped
    log-odds of r_t at each of a particle's own steps. Budget N: ``num_samples`` = N, at most N x max_steps
    steps; ``initial_share`` of N particles start. ``Solution.log_weights``: accumulated, over the number
    that started, so that with incremental weighting their log-sum-exp is the log-evidence. A history's
    step holds the particles that arrived there, in order of descent, and the ancestor of each of the next.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling()
    initial_share: Annotated[float, Gt(0), Le(1), Words("must be above 0 and at most 1")] = 0.75
    weighting: WeightingName | Weighting = "absolute"
    aggregation: Aggregation = "last"
    epsilon: Annotated[float, Ge(0), Lt(0.5)] = 1e-7
    selection: Selection = "argmax"

    @property
    def num_initial(self) -> int:
        """Return how many particles start."""
        return max(1, round(self.num_samples * self.initial_share))

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        cascade = _Cascade(self, session)
        await cascade.run()
        # In order of descent, so that ties do not depend on the order of arrival.
        ended = [particle for _, particle in sorted(cascade.ended, key=lambda item: item[0])]
        population = Population(tuple(t for t, _ in ended), tuple(w for _, w in ended))
        return await conclude(session, population, cascade.history(), self.selection, self.aggregation)

    def grow(self, log_weight: float, parent: Trajectory, child: Trajectory) -> float:
        """Return the log-weight after a step."""
        if self.weighting != "absolute":
            start = Population((parent,), (log_weight,))
            return weighting(self.weighting, self.aggregation, self.epsilon).weigh(start, [child])[0]
        return log_product(log_weight, Absolute(self.aggregation, self.epsilon).log_weight(child))


Lineage = tuple[int, ...]
"""The number of a particle among its siblings, at each of its steps."""


@dataclass
class Barrier:
    """The particles that have arrived at a step so far, and how many copies have continued from there."""

    log_weights: list[float] = field(default_factory=list)
    ancestors: list[int] = field(default_factory=list)
    lineages: list[Lineage] = field(default_factory=list)

    def arrive(self, log_weight: float, lineage: Lineage = ()) -> None:
        self.log_weights.append(log_weight)
        self.lineages.append(lineage)

    def branch(self, rng: np.random.Generator, most: int) -> tuple[int, float]:
        """Return how many copies of the last one continue, at most ``most`` >= 1, and their log-weight."""
        log_weight, arrival = self.log_weights[-1], len(self.log_weights) - 1
        log_mean = log_mean_exp(self.log_weights)
        uncertain = math.isinf(log_weight) and log_weight == log_mean
        ratio = 1.0 if uncertain else math.exp(min(log_weight - log_mean, 700.0))
        if ratio < 1:
            num_copies, log_weight = int(rng.random() < ratio), log_mean
        else:
            rounded = math.floor(ratio) + int(rng.random() < ratio % 1)
            num_copies = min(rounded, most)
            log_weight -= math.log(num_copies)
        self.ancestors += [arrival] * num_copies
        return num_copies, log_weight


class _Cascade:
    """One run: the particles in flight, the barriers they meet at, and those that have ended."""

    def __init__(self, knobs: ParticleCascade, session: Session) -> None:
        self._knobs = knobs
        self._session = session
        self._barriers = [Barrier() for _ in range(knobs.max_steps)]
        # Steps beyond those that particles in flight may still take.
        self._num_spare = (knobs.num_samples - knobs.num_initial) * knobs.max_steps
        self.ended: list[tuple[Lineage, tuple[Trajectory, float]]] = []

    async def run(self) -> None:
        self._session.note(self.history, begins=True)
        try:
            async with asyncio.TaskGroup() as self._group:
                num_initial = self._knobs.num_initial
                for i in range(num_initial):
                    self._launch(self._session, (i,), Trajectory(), -math.log(num_initial))
        except BaseExceptionGroup as errors:
            # A problem's error is one error, as in any other method.
            raise errors.exceptions[0] from None

    def _launch(self, after: Session, lineage: Lineage, trajectory: Trajectory, log_weight: float) -> None:
        self._group.create_task(self._step(after, lineage, trajectory, log_weight))

    async def _step(self, after: Session, lineage: Lineage, parent: Trajectory, log_weight: float) -> None:
        branch = self._session.fork("particle" + ".".join(map(str, lineage)), after=after)
        (child,) = await extend_and_score(branch, [parent], self._knobs.sampling)
        log_weight = self._knobs.grow(log_weight, parent, child)
        num_copies, log_weight = self._arrive(branch, lineage, child, log_weight)
        self._session.note(self.history)
        for i in range(num_copies):
            self._launch(branch, (*lineage, i), child, log_weight)

    def _arrive(
        self, branch: Session, lineage: Lineage, child: Trajectory, log_weight: float
    ) -> tuple[int, float]:
        """Return how many copies continue from here, and their log-weight; ended ones are set aside."""
        barrier, num_ahead = self._barriers[len(lineage) - 1], self._knobs.max_steps - len(lineage)
        barrier.arrive(log_weight, lineage)
        ends = not child.active or num_ahead == 0 or self._session.exhausted
        if ends:
            self.ended.append((lineage, (child, log_weight)))
            num_copies = 0
        else:
            num_copies, log_weight = barrier.branch(branch.rng, 1 + self._num_spare // num_ahead)
        self._num_spare -= (num_copies - 1) * num_ahead
        return num_copies, log_weight

    def history(self) -> list[StepRecord]:
        return [_record(step, b) for step, b in enumerate(self._barriers, 1) if b.log_weights]


def _record(step: int, barrier: Barrier) -> StepRecord:
    """Return slots in order of descent, so that those of the next step are in the order of ``ancestors``."""
    weights = normalise(barrier.log_weights)
    order = sorted(range(len(weights)), key=lambda i: barrier.lineages[i])
    slots = {arrival: slot for slot, arrival in enumerate(order)}
    return StepRecord(
        step=step,
        ess=effective_sample_size(weights),
        entropy=normalised_entropy(weights),
        tempering=1.0,
        num_alive=len(barrier.ancestors),
        ancestors=tuple(sorted(slots[arrival] for arrival in barrier.ancestors)),
        weights=tuple(weights[order].tolist()),
    )
