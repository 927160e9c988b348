"""From the samples of a run to where accuracy saturates: a pilot's forecast beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from orchestrator.allocation.bounds import Interval
from orchestrator.allocation.saturation import Curve, saturation_point
from orchestrator.allocation.saturation_fits import (
    fit_beta,
    fit_beta_curve,
    fit_inflated_beta,
    fit_one_chance,
    histogram,
)
from orchestrator.allocation.subsets import Bools, Floats, Ints, best_of, majority_of, pass_at
from orchestrator.allocation.surface import powers_of_two

Measure = Literal["pass", "best", "majority"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
TTSPM, BETA, INFLATED = "TTSPM, as published", "Beta", "zero-inflated Beta"
NUM_RESAMPLES = 100


@dataclass(frozen=True, slots=True)
class Forecast:
    """One family's curve, at each N of the study, with its N*; intervals are bootstrapped over problems."""

    curve: Curve
    at: tuple[Interval, ...]
    saturates_at: Interval
    errors: tuple[Interval | None, ...]
    """Forecast minus truth at each N; None where the run does not hold the truth."""


@dataclass(frozen=True, slots=True)
class Study:
    """Forecasts by family from a ``pilot``; ``truth`` at each of ``ns``, None beyond the run's samples.

    ``saturates_at`` is N* of the measured curve: None if it still rises by epsilon at the last sample.
    """

    measure: Measure
    pilot: int
    epsilon: float
    num_problems: int
    ns: tuple[int, ...]
    truth: tuple[Interval | None, ...]
    saturates_at: Interval | None
    forecasts: Mapping[str, Forecast]


@dataclass(frozen=True, slots=True)
class Samples:
    """Independent samples of several problems: one array a problem in each field."""

    right: Sequence[Bools]
    log_odds: Sequence[Floats]
    keys: Sequence[Ints]

    def first(self, n: int) -> Samples:
        """Return the first n samples of each problem."""
        return Samples(
            [x[:n] for x in self.right], [x[:n] for x in self.log_odds], [x[:n] for x in self.keys]
        )

    def with_at_least(self, n: int) -> Samples:
        """Return the problems that have n samples or more."""
        rows = [i for i, r in enumerate(self.right) if len(r) >= n]
        return Samples(
            [self.right[i] for i in rows],
            [self.log_odds[i] for i in rows],
            [self.keys[i] for i in rows],
        )

    def curves(self, measure: Measure, num_samples: int) -> Floats:
        """Return ``[problems, N]``: the measure at 1..N, averaged over subsets of each problem's samples."""
        ks = range(1, num_samples + 1)
        if measure == "pass":
            rows = [pass_at(r, ks) for r in self.right]
        elif measure == "best":
            rows = [best_of(x, r, ks) for x, r in zip(self.log_odds, self.right, strict=True)]
        else:
            rows = [majority_of(x, r, ks) for x, r in zip(self.keys, self.right, strict=True)]
        return np.asarray(rows)


def fit_all(measure: Measure, curves: Floats, counts: Ints) -> dict[str, Curve]:
    """Return each family's fit: to curves ``[problems, n]``, and to the right samples of each problem."""
    mean, n = curves.mean(axis=0), curves.shape[1]
    if measure == "pass":
        hist = histogram(counts, n)
        return {TTSPM: fit_one_chance(mean), BETA: fit_beta(hist), INFLATED: fit_inflated_beta(hist)}
    return {
        TTSPM: fit_one_chance(mean),
        BETA: fit_beta_curve(mean, has_ceiling=False),
        INFLATED: fit_beta_curve(mean, has_ceiling=True),
    }


def study(
    samples: Samples,
    pilot: int,
    epsilon: float,
    measure: Measure = "pass",
    num_resamples: int = NUM_RESAMPLES,
) -> Study:
    """Fit every family to the first ``pilot`` samples of each problem, and compare it with all of them.

    Problems with fewer samples than most are left out of the truth. Raises ValueError without a problem that
    has ``pilot`` samples.
    """
    samples = samples.with_at_least(pilot)
    if not samples.right:
        raise ValueError(f"no problem has {pilot} samples")
    most = int(np.median([len(r) for r in samples.right]))
    samples = samples.with_at_least(most)
    truth, begun = samples.curves(measure, most), samples.first(pilot).curves(measure, pilot)
    counts = np.asarray([r[:pilot].sum() for r in samples.right], dtype=np.int64)
    ns = powers_of_two(max(64, most))
    rng = np.random.default_rng(0)
    resampled = rng.integers(len(truth), size=(num_resamples, len(truth)))
    fits = [fit_all(measure, begun[rows], counts[rows]) for rows in resampled]
    whole = fit_all(measure, begun, counts)
    held = [n - 1 for n in ns if n <= most]
    means = np.asarray([truth[rows].mean(axis=0) for rows in resampled])

    def forecast(name: str) -> Forecast:
        drawn = np.asarray([fit[name].at(ns) for fit in fits])
        value, points = whole[name].at(ns), [saturation_point(fit[name], epsilon) for fit in fits]
        wrong = value[: len(held)] - truth.mean(axis=0)[held]
        off = drawn[:, : len(held)] - means[:, held]
        errors = [_interval(x, off[:, i]) for i, x in enumerate(wrong)]
        return Forecast(
            whole[name],
            tuple(_interval(x, drawn[:, i]) for i, x in enumerate(value)),
            _interval(saturation_point(whole[name], epsilon), points),
            (*errors, *[None] * (len(ns) - len(held))),
        )

    measured = [_interval(truth[:, n].mean(), means[:, n]) for n in held]
    return Study(
        measure=measure,
        pilot=pilot,
        epsilon=epsilon,
        num_problems=len(truth),
        ns=ns,
        truth=(*measured, *[None] * (len(ns) - len(held))),
        saturates_at=_measured_point(truth.mean(axis=0), means, epsilon),
        forecasts={name: forecast(name) for name in whole},
    )


def _measured_point(curve: Floats, resampled: Floats, epsilon: float) -> Interval | None:
    """Return N* of a measured curve; the last N stands for a resample that still rises there."""
    gains = np.diff(curve) < epsilon
    if not gains.any():
        return None
    points = [int(np.argmax(g)) + 1 if g.any() else len(curve) for g in np.diff(resampled) < epsilon]
    return _interval(int(np.argmax(gains)) + 1, points)


def _interval(value: float, drawn: Sequence[float] | Floats) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
