"""What the samples of a problem allow at best and at worst, and what is chosen of them.

    worst-of-N <= what is chosen <= best-of-N under the oracle, which is pass@N

The gap between best-of-N under the oracle and best-of-N by reward is what a perfect verifier would close.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.allocation.subsets import Bools, Floats, Ints, best_of, majority_of, pass_at, worst_of
from orchestrator.intervals import paired_interval

NUM_RESAMPLES = 1000
GAP = "gap that a perfect verifier would close"


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with its 95 % interval, bootstrapped over problems."""

    value: float
    low: float
    high: float


def over_problems(values: Sequence[float] | Floats) -> Interval:
    """Return the mean of one value a problem."""
    rows = np.asarray(values, dtype=float)[:, None].tolist()
    return Interval(*paired_interval(rows, [[0.0]] * len(rows), num_resamples=NUM_RESAMPLES))


def bounds(
    right: Sequence[Bools], log_odds: Sequence[Floats], keys: Sequence[Ints], num_samples: int
) -> Mapping[str, Interval]:
    """Return each bound at N = ``num_samples`` by its name; the arguments hold one array a problem.

    Problems with fewer samples are left out.
    """
    rows = [i for i, r in enumerate(right) if len(r) >= num_samples]

    def each(value: Callable[[int], float]) -> Floats:
        return np.asarray([value(i) for i in rows])

    n = [num_samples]
    best = each(lambda i: best_of(log_odds[i], right[i], n)[0])
    oracle = each(lambda i: pass_at(right[i], n)[0])
    columns = {
        "worst-of-N": each(lambda i: worst_of(right[i], n)[0]),
        "average": each(lambda i: float(right[i].mean())),
        "majority": each(lambda i: majority_of(keys[i], right[i], n)[0]),
        "best-of-N by reward": best,
        "best-of-N under the oracle": oracle,
        GAP: oracle - best,
    }
    return {name: over_problems(values) for name, values in columns.items()}
