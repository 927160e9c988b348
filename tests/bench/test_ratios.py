"""The bench of ratios: a revision that is a fresh sample changes nothing, and one that is better pays."""

from __future__ import annotations

import math

import pytest

from tests.bench.bench_ratios import CHOICES, LEVELS, block, measure, numbers_of_chains, refine, right
from tests.bench.reviser import Rates

NUM = 60


@pytest.mark.parametrize("chains", [1, 2, 8])
async def test_the_last_attempts_have_the_accuracy_of_the_closed_form(chains: int) -> None:
    """pi + (a - pi)(1 - f - b)^(i - 1), pi = f / (f + b), of the one chain whose last attempt answers."""
    rates = Rates(1.5, 0.1)
    strategy = refine(chains, 1, "vote")
    solved = (await right(strategy, rates, NUM)).mean(axis=1)
    for fresh, share in zip(LEVELS, solved, strict=True):
        f = rates.f(fresh)
        stays = f / (f + rates.b)
        expected = stays + (fresh - stays) * (1 - f - rates.b) ** (chains - 1)
        assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / NUM) + 1e-9


async def test_a_table_has_every_ratio_of_every_size() -> None:
    found = await measure(2, sizes=(4,))
    assert [r.chains for r in found if r.choice == "vote"] == numbers_of_chains(4) * 4
    assert all(r.ahead.value == 0 for r in found if r.chains == 4)
    assert {r.sequential_tokens for r in found if r.chains == 1} == {400}
    assert block(found, 2).count("| 4 |") == 4 * len(CHOICES)
