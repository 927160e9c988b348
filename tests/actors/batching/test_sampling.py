"""Choosing tokens: uniform numbers from counters, and the inverse of a distribution."""

from __future__ import annotations

import numpy as np
import torch

from actors.batching.sampling import nucleus, sample, uniforms
from tests.laws import chi_square_excess


def draw(logits: list[float], num: int, *, temperature: float, top_p: float = 1.0) -> np.ndarray:
    rows = torch.tensor(logits).expand(num, -1)
    uniform = uniforms(np.arange(num, dtype=np.uint64), np.zeros(num, np.int64))
    return sample(rows, np.full(num, temperature), np.full(num, top_p), uniform)[0]


def test_uniforms_are_uniform_and_independent() -> None:
    seeds = np.arange(2000, dtype=np.uint64)
    table = np.stack([uniforms(seeds, np.full(2000, i)) for i in range(20)])
    assert ((table >= 0) & (table < 1)).all()
    counts, _ = np.histogram(table, bins=50, range=(0, 1))
    assert abs(chi_square_excess(dict(enumerate(counts)), dict.fromkeys(range(50), 1 / 50))) < 4
    correlations = np.corrcoef(table) - np.eye(20)
    assert np.abs(correlations).max() < 5 / np.sqrt(2000)
    assert abs(np.corrcoef(table[0, :-1], table[0, 1:])[0, 1]) < 5 / np.sqrt(2000)


def test_a_number_depends_on_its_seed_and_counter_alone() -> None:
    seeds = np.array([7, 2**64 - 1, 0], dtype=np.uint64)
    together = uniforms(seeds, np.array([3, 4, 5]))
    alone = [uniforms(seeds[i : i + 1], np.array([3 + i]))[0] for i in range(3)]
    assert together.tolist() == alone


def test_draws_follow_softmax_at_the_temperature() -> None:
    logits = [2.0, 1.0, 0.0, -1.0, -torch.inf]
    for temperature in (0.5, 1.0, 1.7):
        chosen = draw(logits, 20_000, temperature=temperature)
        expected = torch.softmax(torch.tensor(logits, dtype=torch.float64) / temperature, -1).tolist()
        counts = dict(enumerate(np.bincount(chosen, minlength=5).tolist()))
        assert counts[4] == 0
        assert chi_square_excess(counts, dict(enumerate(expected))) < 4


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = np.log([0.05, 0.5, 0.15, 0.3]).tolist()
    counts = np.bincount(draw(logits, 20_000, temperature=1.0, top_p=0.7), minlength=4)
    assert counts[0] == counts[2] == 0
    assert chi_square_excess({1: counts[1], 3: counts[3]}, {1: 0.625, 3: 0.375}) < 4


def test_nucleus_edges() -> None:
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.4, 0.2, 0.4]], dtype=torch.float64)
    kept = nucleus(probabilities, torch.tensor([1e-9, 1.0, 0.4], dtype=torch.float64))
    assert kept.tolist() == [[0, 0.5, 0], [0.2, 0.5, 0.3], [0.4, 0, 0]]


def test_top_p_of_one_row_leaves_the_others_alone() -> None:
    logits = torch.randn(3, 29, generator=torch.Generator().manual_seed(0))
    uniform = np.array([0.3, 0.6, 0.9])
    mixed = sample(logits, np.full(3, 0.8), np.array([1.0, 0.5, 1.0]), uniform)[0]
    plain = sample(logits, np.full(3, 0.8), np.ones(3), uniform)[0]
    assert mixed[[0, 2]].tolist() == plain[[0, 2]].tolist()


def test_temperature_zero_is_greedy_and_logprobs_are_at_one() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]])
    chosen, logprobs = sample(logits, np.array([0.0, 1e-6]), np.ones(2), np.array([0.99, 0.99]))
    assert chosen.tolist() == [1, 0]
    expected = torch.log_softmax(logits.double(), -1)[[0, 1], [1, 0]]
    assert np.allclose(logprobs, expected.numpy(), atol=1e-12)


def test_the_last_number_below_one_draws_a_token_that_weighs() -> None:
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    chosen, _ = sample(logits, np.ones(1), np.ones(1), np.array([1 - 2.0**-53]))
    assert chosen.tolist() == [1]


def test_broken_logits_show() -> None:
    _, logprobs = sample(
        torch.tensor([[0.0, torch.nan], [0.0, 1.0]]), np.ones(2), np.ones(2), np.array([0.5, 0.5])
    )
    assert np.isnan(logprobs).tolist() == [True, False]
