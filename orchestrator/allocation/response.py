"""The response surface of several knobs at once, where a table would need every combination.

    logit(accuracy) ~ (a + b * i)^T log(theta + eps) + c

theta are the knobs (samples, iterations, memory entries ...), i the gain of each knob's first unit over none,
measured on a pilot: a knob that helps at once is worth more. Ordinary least squares; then the greatest
forecast with cost(theta) <= B. From the computation-allocation model of inference scaling for RAG,
https://arxiv.org/abs/2410.04343.

Shapes: R rows (a setting on a level), K knobs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

EPSILON = 1e-3  # a knob of 0 has a logarithm
_CLIP = 0.005  # accuracies of 0 and 1 have no logit


@dataclass(frozen=True, slots=True)
class Response:
    """The coefficients ``a`` and ``b`` ``[K]``, and ``c``."""

    a: tuple[float, ...]
    b: tuple[float, ...]
    c: float

    def accuracy(self, knobs: npt.ArrayLike, gains: npt.ArrayLike) -> Floats:
        """Return the forecast for knobs and gains ``[..., K]``."""
        slopes = np.asarray(self.a) + np.asarray(self.b) * np.asarray(gains, dtype=float)
        logits = (slopes * np.log(np.asarray(knobs, dtype=float) + EPSILON)).sum(axis=-1) + self.c
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def fit_response(knobs: npt.ArrayLike, gains: npt.ArrayLike, accuracies: npt.ArrayLike) -> Response:
    """Return the least-squares fit to rows of knobs ``[R, K]``, gains ``[R, K]`` and accuracies ``[R]``.

    Where the rows do not fix a coefficient, the fit of the least norm is taken.
    """
    logs = np.log(np.asarray(knobs, dtype=float) + EPSILON)
    design = np.concatenate([logs, logs * np.asarray(gains, dtype=float), np.ones((len(logs), 1))], axis=1)
    shares = np.clip(np.asarray(accuracies, dtype=float), _CLIP, 1 - _CLIP)
    found, *_ = np.linalg.lstsq(design, np.log(shares) - np.log1p(-shares))
    num = logs.shape[1]
    return Response(tuple(found[:num].tolist()), tuple(found[num : 2 * num].tolist()), float(found[-1]))


def best_knobs(
    response: Response, knobs: npt.ArrayLike, gains: npt.ArrayLike, costs: npt.ArrayLike, budget: float
) -> int:
    """Return the row of ``knobs`` ``[R, K]`` of the greatest forecast that costs at most ``budget``.

    A tie goes to the first. Raises ValueError where every row costs more.
    """
    allowed = np.flatnonzero(np.asarray(costs, dtype=float) <= budget)
    if not len(allowed):
        raise ValueError(f"every setting costs more than {budget:g}")
    forecasts = response.accuracy(np.asarray(knobs, dtype=float)[allowed], gains)
    return int(allowed[int(np.argmax(forecasts))])
