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
    whole, most = _with_most(samples, pilot)
    truth, begun = whole.curves(measure, most), whole.first(pilot).curves(measure, pilot)
    counts = np.asarray([r[:pilot].sum() for r in whole.right], dtype=np.int64)
    rows = np.random.default_rng(0).integers(len(truth), size=(num_resamples, len(truth)))
    ns = powers_of_two(max(64, most))
    measured = _Measured(truth.mean(axis=0), np.asarray([truth[row].mean(axis=0) for row in rows]), ns)
    fits = [fit_all(measure, begun[row], counts[row]) for row in rows]
    curves = fit_all(measure, begun, counts)
    return Study(
        measure=measure,
        pilot=pilot,
        epsilon=epsilon,
        num_problems=len(truth),
        ns=ns,
        truth=measured.truth,
        saturates_at=_measured_point(measured.curve, measured.resampled, epsilon),
        forecasts={
            name: _forecast(curve, [fit[name] for fit in fits], measured, epsilon)
            for name, curve in curves.items()
        },
    )


def _with_most(samples: Samples, pilot: int) -> tuple[Samples, int]:
    """Return the problems that have at least as many samples as the median problem, and that number."""
    samples = samples.with_at_least(pilot)
    if not samples.right:
        raise ValueError(f"no problem has {pilot} samples")
    most = int(np.median([len(r) for r in samples.right]))
    return samples.with_at_least(most), most


@dataclass(frozen=True)
class _Measured:
    """The measured curve at 1, 2, ... and those of the resamples ``[resamples, N]``, to be read at ``ns``."""

    curve: Floats
    resampled: Floats
    ns: tuple[int, ...]

    @property
    def held(self) -> list[int]:
        """The places of those of ``ns`` that were measured."""
        return [n - 1 for n in self.ns if n <= len(self.curve)]

    @property
    def truth(self) -> tuple[Interval | None, ...]:
        return self.padded([_interval(self.curve[n], self.resampled[:, n]) for n in self.held])

    def padded(self, values: Sequence[Interval]) -> tuple[Interval | None, ...]:
        """Return one value for each of ``ns``: None beyond what was measured."""
        return (*values, *[None] * (len(self.ns) - len(values)))


def _forecast(curve: Curve, resampled: Sequence[Curve], measured: _Measured, epsilon: float) -> Forecast:
    """Return a family's forecast with the intervals of its fits to the same resamples."""
    ns, held = measured.ns, measured.held
    value, drawn = curve.at(ns), np.asarray([each.at(ns) for each in resampled])
    wrong = value[: len(held)] - measured.curve[held]
    off = drawn[:, : len(held)] - measured.resampled[:, held]
    return Forecast(
        curve,
        tuple(_interval(x, drawn[:, i]) for i, x in enumerate(value)),
        _interval(saturation_point(curve, epsilon), [saturation_point(each, epsilon) for each in resampled]),
        measured.padded([_interval(x, off[:, i]) for i, x in enumerate(wrong)]),
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
