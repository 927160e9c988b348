"""Curves of accuracy against the number of samples N, and where they saturate.

    TTSPM                F(N) = F_max (1 - (1 - p)^N)
    Beta                 F(N) = 1 - B(a, b + N) / B(a, b)            the chance of a problem ~ Beta(a, b)
    zero-inflated Beta   F(N) = F (1 - B(a, b + N) / B(a, b))        with probability 1 - F it is never solved

    N* = the smallest N whose next sample adds less than epsilon

TTSPM is from "Scaling over Scaling", https://arxiv.org/abs/2505.20522 (one p for all problems, from two
secondary texts that agree). Problems differ, so its curve flattens too early; the two others let them differ.
For sequential rethinking F has the same form, with p the chance that a rethink corrects a wrong answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

MAX_SAMPLES = 2**40
"""N* of a curve that adds epsilon or more for longer is this."""


class Curve(Protocol):
    """Accuracy as a function of the number of samples."""

    def at(self, num_samples: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return F(N) for each N."""
        ...

    def gain(self, num_samples: int) -> float:
        """Return F(N + 1) - F(N), without the cancellation of their difference."""
        ...


@dataclass(frozen=True, slots=True)
class OneChance:
    """TTSPM: every problem has the same ``chance`` per sample, below a ceiling of ``top``."""

    top: float
    chance: float

    def at(self, num_samples: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return np.asarray(self.top * (1.0 - (1.0 - self.chance) ** np.asarray(num_samples, dtype=float)))

    def gain(self, num_samples: int) -> float:
        return self.top * self.chance * (1.0 - self.chance) ** num_samples


@dataclass(frozen=True, slots=True)
class BetaChances:
    """Chances by problem from Beta(``a``, ``b``); a share of 1 - ``top`` of the problems is never solved."""

    a: float
    b: float
    top: float = 1.0

    def at(self, num_samples: npt.ArrayLike) -> npt.NDArray[np.float64]:
        n = np.atleast_1d(np.asarray(num_samples, dtype=float))
        missed = np.asarray([math.exp(self._log_missed(x)) for x in n.ravel()]).reshape(n.shape)
        return np.asarray(self.top * (1.0 - missed)).reshape(np.shape(num_samples))

    def gain(self, num_samples: int) -> float:
        next_is_right = self.a / (self.a + self.b + num_samples)  # posterior mean after N wrong ones
        return self.top * math.exp(self._log_missed(num_samples)) * next_is_right

    def _log_missed(self, n: float) -> float:
        """Return log of B(a, b + n) / B(a, b) = Gamma(b + n) Gamma(a + b) / (Gamma(b) Gamma(a + b + n))."""
        return _log_ratio(self.b, n) - _log_ratio(self.a + self.b, n)


def _log_ratio(x: float, n: float) -> float:
    """Return log of Gamma(x + n) / Gamma(x); for a large x the difference of lgammas has no digits left."""
    if x > 1e6 * max(n, 1.0):  # relative error below n / x
        return n * math.log(x) + n * (n - 1) / (2 * x)
    return math.lgamma(x + n) - math.lgamma(x)


def saturation_point(curve: Curve, epsilon: float) -> int:
    """Return N*: the smallest N, from 0, with F(N + 1) - F(N) < epsilon; found by bisection.

    For TTSPM this is ceil(ln(epsilon / (F_max p)) / ln(1 - p)).
    """
    if curve.gain(0) < epsilon:
        return 0
    low, high = 0, 1
    while high < MAX_SAMPLES and curve.gain(high) >= epsilon:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if curve.gain(middle) >= epsilon else (low, middle)
    return high
