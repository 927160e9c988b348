"""The choice of particle methods: which slots the next step starts from, drawn by weight."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np

from strategies.parts.population import Choice, Choose, Population, keep
from strategies.parts.resampling import Indices, Scheme, resample
from strategies.parts.tempering import Tempering
from strategies.parts.weighting import Weighting
from strategies.parts.weights import LogWeights, Weights, effective_sample_size, normalise

LookAhead = Callable[[int, Population], Awaitable[LogWeights]]
"""From the step just done and its population to the log-weights that the draw goes by."""


async def now_only(step: int, population: Population) -> LogWeights:
    """Return the weights unchanged: no look-ahead."""
    del step
    return population.log_weights


def resample_by(
    rng: np.random.Generator,
    weighting: Weighting,
    scheme: Scheme,
    *,
    tempering: Tempering,
    ess_threshold: float = 1.0,
    look_ahead: LookAhead = now_only,
) -> Choose:
    """Redraw every slot from softmax(looked-ahead log-weights / tempering), once ESS / N <= threshold.

    The gate and the tempering use the current weights.
    """

    async def choose(step: int, population: Population) -> Choice:
        weights = normalise(population.log_weights)
        if not _degenerate(weights, ess_threshold):
            return keep(population)
        exponent = tempering(step, weights)
        probabilities = normalise(np.asarray(await look_ahead(step, population)) / exponent)
        ancestors = resample(scheme, rng, probabilities, len(weights))
        return redraw(population, weighting, probabilities, ancestors, exponent)

    return choose


def redraw(
    population: Population,
    weighting: Weighting,
    probabilities: Weights,
    ancestors: Indices,
    tempering: float = 1.0,
) -> Choice:
    """Return the slots drawn as ``ancestors`` from ``probabilities``, with the log-weights they then have."""
    particles = tuple(population.particles[i] for i in ancestors)
    log_weights = weighting.carry(population.log_weights, probabilities, ancestors)
    return Choice(Population(particles, log_weights), tuple(ancestors.tolist()), tempering)


def _degenerate(weights: Weights, ess_threshold: float) -> bool:
    # ESS of equal weights may miss N by rounding: a threshold of 1 means every step.
    return ess_threshold >= 1 or effective_sample_size(weights) <= ess_threshold * len(weights)
