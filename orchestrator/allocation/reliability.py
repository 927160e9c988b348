"""How far rewards are probabilities: reliability by bin, ECE, Brier score and AUC.

ECE     sum over bins of share * |mean reward - share right|
Brier   mean of (reward - right)^2
AUC     P(reward of a right sample > that of a wrong one), ties at one half
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.allocation.calibration import At, Floats, MapName, fit_steps, sigmoid
from orchestrator.allocation.subsets import Bools

NUM_BINS = 10
NUM_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Bin:
    """Rewards in [low, high): how many, their mean, and the share of right ones."""

    low: float
    high: float
    num: int
    mean: float
    share: float


@dataclass(frozen=True, slots=True)
class Quality:
    """ECE, Brier score and AUC of ``num`` rewards; AUC is None where all are right, or none."""

    num: int
    ece: float
    brier: float
    auc: float | None

    @property
    def entry(self) -> dict[str, Any]:
        """The numbers as JSON."""
        return {"num": self.num, "ece": self.ece, "brier": self.brier, "auc": self.auc}


def bins(values: npt.ArrayLike, right: npt.ArrayLike) -> list[Bin]:
    """Return the bins of width 1 / 10 that hold a value."""
    v, y = np.asarray(values, dtype=float), np.asarray(right, dtype=float)
    index = np.minimum((v * NUM_BINS).astype(int), NUM_BINS - 1)
    rows = [(i, index == i) for i in range(NUM_BINS)]
    return [
        Bin(i / NUM_BINS, (i + 1) / NUM_BINS, int(m.sum()), float(v[m].mean()), float(y[m].mean()))
        for i, m in rows
        if m.any()
    ]


def area_under_curve(values: npt.ArrayLike, right: npt.ArrayLike) -> float | None:
    """Return the AUC by mean ranks (Mann-Whitney); None where all are right, or none."""
    v, y = np.asarray(values, dtype=float), np.asarray(right, dtype=bool)
    num_right, num_wrong = int(y.sum()), int((~y).sum())
    if not num_right or not num_wrong:
        return None
    _, group, counts = np.unique(v, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return float((ranks[y].sum() - num_right * (num_right + 1) / 2) / (num_right * num_wrong))


def quality(log_odds: npt.ArrayLike, right: npt.ArrayLike) -> Quality:
    """Return how far log-odds are those of being right."""
    v, y = sigmoid(log_odds), np.asarray(right, dtype=float)
    ece = sum(b.num * abs(b.mean - b.share) for b in bins(v, y)) / len(v)
    return Quality(len(v), float(ece), float(np.square(v - y).mean()), area_under_curve(log_odds, right))


Steps = Sequence[Sequence[Sequence[float]]]
"""The log-odds of the steps of each sample of each problem."""


def _samples(steps: Steps, right: Sequence[Bools]) -> list[tuple[Sequence[float], bool]]:
    """Return the samples of all problems."""
    return [
        (sample, bool(r))
        for each, labels in zip(steps, right, strict=True)
        for sample, r in zip(each, labels, strict=True)
    ]


def by_step(steps: Steps, right: Sequence[Bools]) -> list[Quality]:
    """Return the quality of the first reward, of the second, and so on: as forecasts of the final grade."""
    flat = _samples(steps, right)
    longest = max((len(s) for s, _ in flat), default=0)
    columns = [[(s[i], r) for s, r in flat if len(s) > i] for i in range(longest)]
    return [quality([x for x, _ in each], [r for _, r in each]) for each in columns]


def last_rewards(steps: Steps, right: Sequence[Bools]) -> tuple[Floats, Bools]:
    """Return the last reward of every scored sample, and whether it is right."""
    pairs = [(s[-1], r) for s, r in _samples(steps, right) if s]
    return np.asarray([x for x, _ in pairs]), np.asarray([r for _, r in pairs], dtype=bool)


def held_out(
    name: MapName, at: At, steps: Steps, right: Sequence[Bools], num_folds: int = NUM_FOLDS
) -> tuple[Floats, Bools]:
    """Return calibrated last rewards, each by a map that was fitted to other problems.

    Problem i is in fold i mod ``num_folds``. Raises ValueError where a fold has no rising map.
    """
    calibrated: list[Floats] = []
    labels: list[Bools] = []
    for fold in range(min(num_folds, len(steps))):
        rest = [i for i in range(len(steps)) if i % num_folds != fold]
        own = [i for i in range(len(steps)) if i % num_folds == fold]
        made = fit_steps(
            name, at, [s for i in rest for s in steps[i]], [bool(r) for i in rest for r in right[i]]
        )
        for i in own:
            for s, r in zip(steps[i], right[i], strict=True):
                if s:
                    calibrated.append(made.of_step(len(s) - 1)(s[-1]))
                    labels.append(r)
    return np.asarray(calibrated), np.asarray(labels, dtype=bool)
