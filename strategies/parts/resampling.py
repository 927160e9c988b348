"""Resampling: five schemes behind one signature, each unbiased (E[copies of i] = n * weights[i]).

Every scheme takes ``(rng, weights, n)``, with ``weights`` ``[N]`` that sum to 1, and returns ``n`` indices
into them. None returns an index of weight zero. Sources: Douc, Cappe, Moulines, "Comparison of
resampling schemes for particle filtering" (2005); Gerber, Chopin, Whiteley, "Negative association,
ordering and convergence of resampling methods" (2019) for ssp.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from strategies.parts.weights import Weights

Indices = npt.NDArray[np.int64]
SchemeName = Literal["multinomial", "systematic", "stratified", "residual", "ssp"]


@runtime_checkable
class Resampler(Protocol):
    """A resampling scheme.

    It takes the problem's random numbers (and uses no others), ``weights`` ``[N]`` that sum to 1, and how
    many indices to draw. It returns ``[n]`` indices of positive weight; for an unbiased evidence the expected
    number of copies of i is n * weights[i].

    Example::

        def best_half(rng, weights, n):
            return np.repeat(np.argsort(-weights)[: max(1, n // 2)], 2)[:n]

        ParticleFilter(num_particles=8, max_steps=8, sampling=Sampling(), resampling=best_half)
    """

    def __call__(self, rng: np.random.Generator, weights: Weights, n: int, /) -> Indices: ...


Scheme = SchemeName | Resampler


def multinomial(rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """Draw independently: the scheme with the most variance, and the one that proofs are about."""
    return _invert(weights, rng.random(n))


def systematic(rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """Use positions (i + u) / n with one u: each index gets floor or ceil of n * weights[i] copies."""
    return _invert(weights, (np.arange(n) + rng.random()) / n)


def stratified(rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """Use positions (i + u_i) / n, with a separate draw in each of n equal strata."""
    return _invert(weights, (np.arange(n) + rng.random(n)) / n)


def residual(rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """Take floor(n * weights[i]) copies for certain, and the rest multinomially on the remainders."""
    copies, remainders = _split(weights, n)
    rest = n - int(copies.sum())
    sure = np.repeat(np.arange(len(weights)), copies)
    if rest == 0:
        return sure
    return np.concatenate([sure, multinomial(rng, remainders / remainders.sum(), rest)])


def ssp(rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """Use Srinivasan's sampling process: floor or ceil of n * weights[i] copies, negatively associated.

    Remainders meet in pairs: one of the two takes from the other until it is 0 or 1, with the odds that
    keep both expectations; the other one meets the next.
    """
    copies, remainders = _split(weights, n)
    num_left = n - int(copies.sum())
    open_index, *others = np.flatnonzero(weights > 0).tolist()
    settled = np.zeros(len(weights), dtype=bool)
    for other in others:
        closed, open_index = _meet(rng, remainders, open_index, other)
        settled[closed] = remainders[closed] > 0.5
    # What is left to the last one is 0 or 1 up to rounding: the count of copies decides.
    settled[open_index] = num_left > settled.sum()
    return np.repeat(np.arange(len(weights)), copies + settled)


def _meet(rng: np.random.Generator, remainders: Weights, i: int, j: int) -> tuple[int, int]:
    """Settle one of two remainders at 0 or 1, in place; return (the settled index, the open one)."""
    up = min(remainders[j], 1.0 - remainders[i])
    down = min(remainders[i], 1.0 - remainders[j])
    change = up if up + down > 0 and rng.random() < down / (up + down) else -down
    remainders[i] += change
    remainders[j] -= change
    distance_i = min(remainders[i], 1.0 - remainders[i])
    distance_j = min(remainders[j], 1.0 - remainders[j])
    return (i, j) if distance_i <= distance_j else (j, i)


def _split(weights: Weights, n: int) -> tuple[Indices, Weights]:
    """Return whole copies and the remainder of n * weights, each ``[N]``."""
    expected = n * weights
    # A product that misses an integer by rounding alone counts as that integer.
    nearest = np.round(expected)
    expected = np.where(np.isclose(expected, nearest, rtol=0, atol=1e-9), nearest, expected)
    copies = np.floor(expected).astype(np.int64)
    return copies, expected - copies


def _invert(weights: Weights, positions: Weights) -> Indices:
    """Return, for each position in [0, 1), the index whose share of the cumulative weight holds it."""
    cumulative = np.cumsum(weights)
    # Rounding may leave the last sum below a position: the last positive weight takes the rest.
    cumulative[np.flatnonzero(weights > 0)[-1] :] = np.inf
    return np.searchsorted(cumulative, positions, side="right").astype(np.int64)


RESAMPLERS: Mapping[SchemeName, Resampler] = {
    "multinomial": multinomial,
    "systematic": systematic,
    "stratified": stratified,
    "residual": residual,
    "ssp": ssp,
}


def resample(scheme: Scheme, rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """Draw ``n`` indices. Raises ValueError where a user's function returns anything else."""
    resampler = RESAMPLERS[scheme] if isinstance(scheme, str) else scheme
    indices = np.asarray(resampler(rng, weights, n))
    fits = indices.shape == (n,) and np.issubdtype(indices.dtype, np.integer)
    if not fits or indices.min() < 0 or indices.max() >= len(weights):
        raise ValueError(f"resampling must return {n} indices below {len(weights)}, and returned {indices!r}")
    return indices
