"""Votes tilted by the quantile of a reward: between a majority and the best of N.

InfAlign, https://arxiv.org/abs/2412.19792. With C_i the share of the K samples of a problem whose reward is
lower, ties at one half, sample i votes with

    exp(t C_i):   t = 0 counts votes, t to infinity takes the sample of the greatest reward
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge

Tilt = Annotated[float, Ge(0)]


def quantiles(rewards: Sequence[float]) -> list[float]:
    """Return C of each reward among all of them."""
    r = np.asarray(rewards, dtype=float)
    order = np.sort(r)
    below, upto = np.searchsorted(order, r, "left"), np.searchsorted(order, r, "right")
    return [float(x) for x in (below + upto) / (2.0 * len(r))]


def tilted(rewards: Sequence[float], tilt: float) -> list[float]:
    """Return the log of each vote over that of the greatest reward: 0 or less."""
    shares = quantiles(rewards)
    most = max(shares, default=0.0)
    return [tilt * (share - most) for share in shares]
