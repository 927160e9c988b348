"""What one more parcel of samples is worth to a problem: the expected rise of the chance of a right answer.

With c_max the greatest reward among a problem's n samples, as a value in [0, 1] (calibrated, it is a chance):

    need         1 - c_max
    improvement  w0 / (n + w0) E_prior[(x - c_max)+]     the prior: the block's pooled first samples
    vote         1 - P(X > 1/2)                          the doubt of the Beta rule in the leader of a vote

These rules are ours. ``improvement`` is the expected gain of one more draw from a mixture of the prior, with
weight w0 / (n + w0), and the problem's own samples, which never exceed their own maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Bid:
    """What one more parcel is worth to a problem: its expected ``gain``, and its ``cost`` in samples."""

    gain: float
    cost: float = 1.0


def need(rewards: Sequence[float]) -> float:
    """Return 1 - the greatest reward; 1 without any."""
    return 1.0 - max(rewards, default=0.0)


def improvement(rewards: Sequence[float], prior: Sequence[float], prior_weight: float) -> float:
    """Return the expected rise of the greatest reward by one more sample; 0 without a prior."""
    if not prior:
        return 0.0
    best = max(rewards, default=0.0)
    rise = float(np.mean(np.maximum(np.asarray(prior, dtype=np.float64) - best, 0.0)))
    return prior_weight / (len(rewards) + prior_weight) * rise
