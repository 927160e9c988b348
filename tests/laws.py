"""Laws as reusable assertions: stated once, held against every implementation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.types import NodeRecord, Solution, StepRecord, Usage
from strategies.parts.resampling import Indices, Resampler
from strategies.parts.weights import Weights


def assert_mean(samples: Sequence[float], expected: float, z: float = 4.5) -> None:
    """The mean lies within ``z`` standard errors of what was expected, and they are small enough to tell."""
    mean, error = float(np.mean(samples)), float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    assert error < 0.05 * abs(expected), f"standard error {error} cannot tell {mean} from {expected}"
    assert abs(mean - expected) < z * error + 1e-12, f"mean {mean} +- {error}, expected {expected}"


def total_variation(a: Mapping[Any, float], b: Mapping[Any, float]) -> float:
    """Half the sum of absolute differences of two distributions."""
    return 0.5 * sum(abs(a.get(k, 0.0) - b.get(k, 0.0)) for k in a.keys() | b.keys())


def chi_square_excess(counts: Mapping[Any, float], expected: Mapping[Any, float]) -> float:
    """How many standard deviations Pearson's statistic lies above its mean; near 0 where the law holds."""
    total = sum(counts.values())
    assert counts.keys() <= expected.keys(), f"impossible outcomes: {counts.keys() - expected.keys()}"
    cells = {k: p * total for k, p in expected.items() if p > 0}
    statistic = sum((counts.get(k, 0.0) - e) ** 2 / e for k, e in cells.items())
    freedom = len(cells) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


def assert_resamples(resampler: Resampler, rng: np.random.Generator, weights: Weights, n: int) -> Indices:
    """n indices in range, none of weight zero; the same for the same generator state."""
    state = rng.bit_generator.state
    indices = resampler(rng, weights, n)
    assert indices.shape == (n,)
    assert indices.dtype == np.int64
    assert ((indices >= 0) & (indices < len(weights))).all()
    assert (weights[indices] > 0).all()
    rng.bit_generator.state = state
    assert (resampler(rng, weights, n) == indices).all()
    return indices


def assert_sound(solution: Solution) -> None:
    """A solution is consistent in itself."""
    num = len(solution.trajectories)
    assert len(solution.log_weights) == num
    assert not any(math.isnan(x) for x in solution.log_weights)
    assert (solution.answer_index is None) == (num == 0)
    assert solution.answer_index is None or 0 <= solution.answer_index < num
    assert all(t.steps for t in solution.trajectories)
    records = [r for r in solution.history if isinstance(r, StepRecord)]
    assert [r.step for r in records] == list(range(1, len(records) + 1))
    for record in records:
        assert record.ess >= 1 - 1e-9
        assert 0 <= record.entropy <= 1
        assert record.tempering > 0
        assert abs(sum(record.weights) - 1) < 1e-9
        assert all(0 <= slot < len(record.weights) for slot in record.ancestors)
    nodes = [r for r in solution.history if isinstance(r, NodeRecord)]
    assert [n.node for n in nodes] == list(range(len(nodes)))
    assert all(n.parent is None if n.node == 0 else n.parent in range(n.node) for n in nodes)
    closed = sorted(n.closed for n in nodes if n.closed is not None)
    assert closed == list(range(len(closed)))


def assert_prefers_finished(solution: Solution) -> None:
    """An unfinished trajectory is the answer's only where none finished."""
    if any(t.finished for t in solution.trajectories):
        assert solution.answer_index is not None
        assert solution.trajectories[solution.answer_index].finished


def assert_ledger(usage: Usage, *counted: Usage) -> None:
    """The ledger is what the fakes handed out, to the token."""
    assert usage == sum(counted, Usage())
