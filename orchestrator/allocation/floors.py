"""Below which reward a problem is given up: so many are, as many as the policy never solves.

With F the ceiling of the zero-inflated Beta (``saturation``), a share 1 - F of the problems is never solved.
The floor after n samples is the reward below which the greatest of n rewards lies for that share of a pilot's
problems, at the most. The rule is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.saturation_fits import fit_inflated_beta, histogram

Floats = npt.NDArray[np.float64]
NUM_FOLDS = 2


@dataclass(frozen=True, slots=True)
class Floor:
    """The least reward to go on with after ``num_samples``.

    ``share`` of the problems of one fold are below the floor of the other, of which ``num_solved`` are right
    in at least one sample.
    """

    num_samples: int
    level: float
    share: float
    num_solved: int


def never_solved(right: Sequence[npt.NDArray[np.bool_]]) -> float:
    """Return 1 - F of the zero-inflated Beta: the share of problems that no number of samples solves."""
    hist = histogram([int(each.sum()) for each in right], len(right[0]))
    return 1.0 - fit_inflated_beta(hist).top


def level_of(best: Floats, share: float) -> float:
    """Return the greatest level with at most this share of the values below it."""
    return float(np.sort(best)[min(int(share * len(best)), len(best) - 1)])


def fit_floors(
    right: Sequence[npt.NDArray[np.bool_]], rewards: Sequence[Floats], nums: Sequence[int]
) -> list[Floor]:
    """Return the floors of a pilot, for each number of samples; folds of problems alternate."""
    share, solved = never_solved(right), np.asarray([each.any() for each in right])
    fold = np.arange(len(right)) % NUM_FOLDS
    floors = []
    for num in nums:
        best = np.asarray([each[:num].max() for each in rewards])
        below = np.zeros(len(best), dtype=bool)
        for held in range(NUM_FOLDS):
            below[fold == held] = best[fold == held] < level_of(best[fold != held], share)
        floors.append(Floor(num, level_of(best, share), float(below.mean()), int((below & solved).sum())))
    return floors
