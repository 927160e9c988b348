"""Logistic regression with a ridge, by Newton's method.

    maximise over w, c    sum_i log P_i(right_i) - ridge / 2 |w|^2,    P_i(1) = 1 / (1 + exp(-(c + w x_i)))

The ridge bounds the slopes where a feature separates right from wrong. The sum is concave: Newton's step is
halved until it rises, and its end does not depend on the start.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_MOST_STEPS, _CLOSE = 100, 1e-10


def logistic(x: Floats, right: npt.ArrayLike, ridge: float = 1.0) -> tuple[Floats, float]:
    """Return slopes ``[F]`` and the intercept, which has no ridge; ``x`` is ``[n, F]``, ``right`` ``[n]``.

    Raises ValueError where all are right or all are wrong: no intercept is the best then.
    """
    y = np.asarray(right, dtype=float)
    if not 0 < y.sum() < len(y):
        raise ValueError("needs right and wrong ones")
    rows = np.column_stack([x, np.ones(len(y))])
    penalty = np.array([ridge] * x.shape[1] + [0.0])
    w = np.zeros(rows.shape[1])
    for _ in range(_MOST_STEPS):
        p = 1 / (1 + np.exp(-np.clip(rows @ w, -500, 500)))
        slope = rows.T @ (y - p) - penalty * w
        step = np.linalg.solve((rows * (p * (1 - p))[:, None]).T @ rows + np.diag(penalty + 1e-12), slope)
        before, size = _worth(rows, y, penalty, w), 1.0
        while _worth(rows, y, penalty, w + size * step) < before and size > _CLOSE:
            size /= 2
        w = w + size * step
        if np.abs(size * step).max() < _CLOSE:
            break
    return w[:-1], float(w[-1])


def _worth(rows: Floats, y: Floats, penalty: Floats, w: Floats) -> float:
    odds = rows @ w
    return float(y @ odds - np.logaddexp(0, odds).sum() - penalty @ (w * w) / 2)
