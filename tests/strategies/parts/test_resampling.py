"""Resampling: laws of every scheme, and what systematic promises beyond them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.parts.resampling import RESAMPLERS, Resampler
from strategies.parts.weights import normalise
from tests.laws import assert_resamples

every_scheme = pytest.mark.parametrize("resampler", RESAMPLERS.values(), ids=RESAMPLERS.keys())
log_weights = st.lists(st.floats(-20, 5) | st.just(-math.inf), min_size=1, max_size=24)
seeds = st.integers(0, 2**32)


@every_scheme
@given(log_weights, st.integers(1, 40), seeds)
def test_laws(resampler: Resampler, lw: list[float], n: int, seed: int) -> None:
    assert_resamples(resampler, np.random.default_rng(seed), normalise(lw), n)


@pytest.mark.parametrize("name", ["systematic", "ssp"])
@given(log_weights, st.integers(1, 40), seeds)
def test_copies_are_floor_or_ceil(name: str, lw: list[float], n: int, seed: int) -> None:
    weights = normalise(lw)
    indices = RESAMPLERS[name](np.random.default_rng(seed), weights, n)  # type: ignore[index]
    copies = np.bincount(indices, minlength=len(weights))
    assert (copies >= np.floor(n * weights - 1e-6)).all()
    assert (copies <= np.ceil(n * weights + 1e-6)).all()


@pytest.mark.parametrize("name", ["residual", "stratified"])
@given(log_weights, st.integers(1, 40), seeds)
def test_copies_have_a_lower_bound(name: str, lw: list[float], n: int, seed: int) -> None:
    weights = normalise(lw)
    indices = RESAMPLERS[name](np.random.default_rng(seed), weights, n)  # type: ignore[index]
    copies = np.bincount(indices, minlength=len(weights))
    slack = 0 if name == "residual" else 1  # a stratum may be shared at either end
    assert (copies >= np.floor(n * weights - 1e-6) - slack).all()


@every_scheme
def test_mean_copies_are_unbiased(resampler: Resampler) -> None:
    """Each within 3 %: of 61 draws no expected number of copies is whole, so remainders decide."""
    weights, n, num_runs = np.array([0.07, 0.43, 0.0, 0.29, 0.21]), 61, 4000
    rng = np.random.default_rng(1)
    copies = np.array([np.bincount(resampler(rng, weights, n), minlength=5) for _ in range(num_runs)])
    error = copies.std(axis=0, ddof=1) / np.sqrt(num_runs)
    assert (4 * error <= 0.03 * n * weights + 1e-12).all()
    assert (np.abs(copies.mean(axis=0) - n * weights) <= 4 * error).all()


@every_scheme
@pytest.mark.parametrize(
    "weights", [[1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], ids=["N=1", "mid", "last", "first"]
)
def test_one_positive_weight_takes_all(resampler: Resampler, weights: list[float]) -> None:
    for n in (1, 2, 7):
        indices = resampler(np.random.default_rng(0), np.array(weights), n)
        assert indices.tolist() == [int(np.argmax(weights))] * n


class _Always(np.random.Generator):
    """The same draw each time, so that borders can be met exactly."""

    def __init__(self, draw: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._draw = draw

    def random(self, size: int | None = None) -> object:  # type: ignore[override]
        return self._draw if size is None else np.full(size, self._draw)


@every_scheme
def test_the_last_cumulative_weight_is_guarded_against_rounding(resampler: Resampler) -> None:
    # Ten tenths add up to less than the largest draw; what follows has weight zero.
    weights = np.array([0.1] * 10 + [0.0, 0.0])
    indices = resampler(_Always(np.nextafter(1.0, 0.0)), weights, 10)
    assert indices.max() == 9


@every_scheme
def test_a_draw_of_zero_does_not_meet_a_weight_of_zero(resampler: Resampler) -> None:
    weights = np.array([0.0, 0.5, 0.0, 0.5])
    for n in (1, 2, 4):
        assert set(resampler(_Always(0.0), weights, n).tolist()) <= {1, 3}


def test_equal_weights_keep_every_particle() -> None:
    for name in ("systematic", "residual", "ssp"):
        for n in (1, 3, 7, 64):
            indices = RESAMPLERS[name](np.random.default_rng(n), np.full(n, 1 / n), n)
            assert sorted(indices.tolist()) == list(range(n)), name


def test_systematic_has_less_variance_than_multinomial() -> None:
    weights, rng = np.array([0.05, 0.15, 0.35, 0.45]), np.random.default_rng(2)
    variance = {
        name: np.var([(RESAMPLERS[name](rng, weights, 8) == 2).sum() for _ in range(500)])
        for name in ("multinomial", "systematic")
    }
    assert variance["systematic"] < 0.3 * variance["multinomial"]
