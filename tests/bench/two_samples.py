"""Whether two samples of answers come from one distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def chi_square(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Pearson's statistic ``[...]`` of two rows of counts ``[..., cells]``; every cell has been seen."""
    table = np.stack([np.asarray(first, dtype=float), np.asarray(second, dtype=float)], axis=-2)
    rows, columns = table.sum(axis=-1, keepdims=True), table.sum(axis=-2, keepdims=True)
    expected = rows * columns / rows.sum(axis=-2, keepdims=True)
    return np.asarray(((table - expected) ** 2 / expected).sum(axis=(-2, -1)))


def two_sample_test(
    a: Sequence[str], b: Sequence[str], *, num_resamples: int = 20_000, seed: int = 0
) -> tuple[float, float]:
    """Chi-square statistic and p-value of "both come from one distribution".

    The p-value is that of relabelling the answers at random, which is exact for rare answers too; its least
    value is 1 / (num_resamples + 1).
    """
    cells = sorted({*a, *b})
    first, second = (np.array([counts[cell] for cell in cells]) for counts in (Counter(a), Counter(b)))
    pooled = first + second
    statistic = float(chi_square(first, second))
    draws = np.random.default_rng(seed).multivariate_hypergeometric(pooled, len(a), size=num_resamples)
    as_great = int((chi_square(draws, pooled - draws) >= statistic - 1e-9).sum())
    return statistic, (1 + as_great) / (1 + num_resamples)
