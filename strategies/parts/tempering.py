"""Tempering of resampling weights: constant, or annealed while the population is over-confident.

Formulas of entropic particle filtering, arXiv 2510.05825. With t of T steps done, ESS and normalised
entropy H of the untempered weights, and N particles:

    ess      max(1, (N / ESS) (1 - t/T))
    entropy  max(1, 1 / (H + (1 - H) t/T))
    base     max(1, 2 - t/T)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from strategies.parts.weights import Weights, effective_sample_size, normalised_entropy

Tempering = Callable[[int, Weights], float]
"""From the step just done (1-based) and its normalised weights to the tempering; 1 is none."""

AnnealingName = Literal["off", "ess", "entropy", "base"]


def constant(tempering: float) -> Tempering:
    """The same tempering at every step."""
    return lambda step, weights: tempering


def ess_tempering(weights: Weights, progress: float) -> float:
    """``progress`` is t/T, the share of steps done."""
    return max(1.0, len(weights) / effective_sample_size(weights) * (1 - progress))


def entropy_tempering(weights: Weights, progress: float) -> float:
    """Bounded by T/t, however even or uneven the weights."""
    entropy = normalised_entropy(weights)
    return max(1.0, 1 / (entropy + (1 - entropy) * progress))


def base_tempering(weights: Weights, progress: float) -> float:
    """From 2 down to 1, whatever the weights."""
    del weights
    return max(1.0, 2 - progress)


_SCHEDULES: Mapping[AnnealingName, Callable[[Weights, float], float]] = {
    "off": lambda weights, progress: 1.0,
    "ess": ess_tempering,
    "entropy": entropy_tempering,
    "base": base_tempering,
}
ANNEALINGS: tuple[AnnealingName, ...] = tuple(_SCHEDULES)


@dataclass(frozen=True, slots=True)
class Annealing:
    """A schedule that acts while ESS / N < ``threshold`` and t / T < ``early_phase``; 1 otherwise."""

    schedule: AnnealingName
    max_steps: int
    threshold: float = 0.5
    early_phase: float = 0.5

    def __call__(self, step: int, weights: Weights) -> float:
        progress = step / self.max_steps
        ratio = effective_sample_size(weights) / len(weights)
        if len(weights) == 1 or ratio >= self.threshold or progress >= self.early_phase:
            return 1.0
        return _SCHEDULES[self.schedule](weights, progress)
