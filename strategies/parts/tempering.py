"""Tempering of resampling weights: constant, or annealed while the population is over-confident.

Formulas of entropic particle filtering, arXiv 2510.05825. With t of T steps done, ESS and normalised
entropy H of the untempered weights, and N particles:

    ess      max(1, (N / ESS) (1 - t/T))
    entropy  max(1, 1 / (H + (1 - H) t/T))
    base     max(1, 2 - t/T)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from strategies.parts.weights import Weights, effective_sample_size, normalised_entropy

AnnealingName = Literal["off", "ess", "entropy", "base"]


@runtime_checkable
class Tempering(Protocol):
    """Return the tempering after a step, above 0: 1 is none, more makes the resampling weights more even.

    It takes the number of the step just done (1 for the first) and its weights ``[N]``, which sum to 1.
    """

    def __call__(self, step: int, weights: Weights, /) -> float: ...


@runtime_checkable
class Schedule(Protocol):
    """Return the tempering, 1 or more, of an over-confident population: an annealing schedule.

    It takes the weights ``[N]``, which sum to 1, and ``progress``, the share of the steps that are done.
    """

    def __call__(self, weights: Weights, progress: float, /) -> float: ...


def tempering_of(tempering: float | Tempering) -> Tempering:
    """Return a function unchanged, or a number at every step."""
    return tempering if callable(tempering) else lambda step, weights: tempering


def ess_tempering(weights: Weights, progress: float) -> float:
    """Return max(1, (N / ESS) (1 - t/T)), where ``progress`` is t/T, the share of steps done."""
    return max(1.0, len(weights) / effective_sample_size(weights) * (1 - progress))


def entropy_tempering(weights: Weights, progress: float) -> float:
    """Return a tempering that is at most T/t for any weights."""
    entropy = normalised_entropy(weights)
    return max(1.0, 1 / (entropy + (1 - entropy) * progress))


def base_tempering(weights: Weights, progress: float) -> float:
    """Return a tempering that falls from 2 to 1 for any weights."""
    del weights
    return max(1.0, 2 - progress)


_SCHEDULES: Mapping[AnnealingName, Schedule] = {
    "off": lambda weights, progress: 1.0,
    "ess": ess_tempering,
    "entropy": entropy_tempering,
    "base": base_tempering,
}
ANNEALINGS: tuple[AnnealingName, ...] = tuple(_SCHEDULES)


@dataclass(frozen=True, slots=True)
class Annealing:
    """A schedule that acts while ESS / N < ``threshold`` and t / T < ``early_phase``; 1 otherwise."""

    schedule: AnnealingName | Schedule
    max_steps: int
    threshold: float = 0.5
    early_phase: float = 0.5

    def __call__(self, step: int, weights: Weights) -> float:
        progress = step / self.max_steps
        ratio = effective_sample_size(weights) / len(weights)
        if len(weights) == 1 or ratio >= self.threshold or progress >= self.early_phase:
            return 1.0
        schedule = _SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule
        return schedule(weights, progress)
