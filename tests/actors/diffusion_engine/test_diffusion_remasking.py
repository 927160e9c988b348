"""One pass as mathematics: noise, draws, measures of confidence, and what is committed."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch

from actors.batching.splitmix import mix
from actors.diffusion_engine.noise import _mix, position_keys, position_uniforms, token_uniforms
from actors.diffusion_engine.remasking import committed, guided, predict
from orchestrator.types import REMASKINGS
from tests.laws import chi_square_excess

LOGITS = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]))


def keys_of(num: int, *, block: int = 0, step: int = 0, position: int = 0) -> torch.Tensor:
    """Keys of ``num`` seeds at one place."""
    here = (torch.full((num,), n) for n in (block, step, position))
    return position_keys(torch.arange(num), *here)


def assert_uniform(numbers: torch.Tensor) -> None:
    """Kolmogorov's distance to the uniform law, which is above 2.3 / sqrt(n) once in 20,000 times."""
    ordered = np.sort(numbers.numpy())
    ranks = np.arange(len(ordered) + 1) / len(ordered)
    distance = max((ranks[1:] - ordered).max(), (ordered - ranks[:-1]).max())
    assert distance * math.sqrt(len(ordered)) < 2.3


def test_the_hash_is_that_of_splitmix() -> None:
    states = torch.tensor([0, 1, 123456789, 2**62, -1, -(2**63)])
    own = [n % 2**64 for n in _mix(states).tolist()]
    assert own == mix(np.array([n % 2**64 for n in states.tolist()], np.uint64)).tolist()


def test_noise_is_uniform_and_differs_from_place_to_place() -> None:
    places = [keys_of(300, block=b, step=s, position=p) for b in (0, 1) for s in (0, 1) for p in (0, 1)]
    numbers = [token_uniforms(keys, 20).flatten() for keys in places]
    for uniform in numbers:
        assert_uniform(uniform)
    for i, first in enumerate(numbers):
        for second in numbers[:i]:
            assert abs(np.corrcoef(first.numpy(), second.numpy())[0, 1]) < 5 / math.sqrt(len(first))
    assert_uniform(position_uniforms(places[0]))
    one, two = token_uniforms(keys_of(300), 2).T
    assert abs(np.corrcoef(one.numpy(), two.numpy())[0, 1]) < 5 / math.sqrt(300)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_follow_the_tempered_distribution(temperature: float) -> None:
    """exp(l) / (-log u)^T is greatest with probability softmax(l / T): the Gumbel trick."""
    num = 4000
    prediction = predict(
        LOGITS[:1].repeat(num, 1),
        torch.full((num,), temperature, dtype=torch.float64),
        keys_of(num),
        ["low_confidence"] * num,
    )
    expected = torch.softmax(LOGITS[0].double() / temperature, dim=-1).tolist()
    assert abs(chi_square_excess(Counter(prediction.tokens.tolist()), dict(enumerate(expected)))) < 5
    assert prediction.best.tolist() == [0] * num


def test_cold_and_warm_rows_side_by_side() -> None:
    logits = LOGITS.repeat(200, 1)
    temperature = torch.tensor([0.0, 0.9], dtype=torch.float64).repeat(200)
    mixed = predict(logits, temperature, keys_of(400), ["low_confidence"] * 400)
    assert set(mixed.tokens[::2].tolist()) == {0}
    alone = predict(logits[1::2], temperature[1::2], keys_of(400)[1::2], ["low_confidence"] * 200)
    assert mixed.tokens[1::2].tolist() == alone.tokens.tolist()
    assert mixed.confidence[1::2].tolist() == alone.confidence.tolist()


def test_measures_of_confidence() -> None:
    banned = torch.cat([LOGITS, torch.full((2, 1), -torch.inf)], dim=1)
    zero = torch.zeros(2, dtype=torch.float64)
    measured = {name: predict(banned, zero, keys_of(2), [name] * 2).confidence for name in REMASKINGS}
    assert measured["low_confidence"] == pytest.approx([0.5, 0.7])
    assert measured["topk_margin"] == pytest.approx([0.2, 0.5])
    entropies = [-sum(p * math.log(p) for p in row) for row in ((0.5, 0.3, 0.2), (0.1, 0.2, 0.7))]
    assert measured["entropy"] == pytest.approx([-e for e in entropies])
    assert measured["random"].tolist() == position_uniforms(keys_of(2)).tolist()
    both = predict(banned, zero, keys_of(2), ["entropy", "topk_margin"]).confidence
    assert both == pytest.approx([-entropies[0], 0.5])


def test_the_drawn_token_is_what_confidence_and_likelihood_are_of() -> None:
    warm = predict(
        LOGITS[:1].repeat(50, 1), torch.ones(50, dtype=torch.float64), keys_of(50), ["low_confidence"] * 50
    )
    p = np.array([0.5, 0.3, 0.2])[warm.tokens]
    assert warm.confidence == pytest.approx(p, rel=1e-6)
    assert warm.logprobs == pytest.approx(np.log(p), rel=1e-6)
    assert warm.best_probability == pytest.approx([0.5] * 50)


def test_a_tempered_confidence_is_that_of_what_is_drawn_from() -> None:
    """Dream's: p^(1/T) normalised, at temperature 0 as at 1; the likelihood stays that at temperature 1."""
    p = np.array([0.6, 0.3, 0.1])
    logits = torch.log(torch.tensor(p)).repeat(2, 1)
    temperature, keys = torch.tensor([0.5, 0.0], dtype=torch.float64), torch.tensor([3, 4])
    sharp = p**2 / (p**2).sum()
    expected = {
        "low_confidence": lambda token: (sharp[token], 0.6),
        "topk_margin": lambda _: (sharp[0] - sharp[1], 0.3),
        "entropy": lambda _: ((sharp * np.log(sharp)).sum(), (p * np.log(p)).sum()),
    }
    for name, measure in expected.items():
        prediction = predict(logits, temperature, keys, [name] * 2, tempered=True)
        assert prediction.confidence == pytest.approx(measure(prediction.tokens[0]))
        assert prediction.logprobs == pytest.approx(np.log(p[prediction.tokens]))


def test_guidance() -> None:
    conditional, unconditional = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 3.0]])
    assert guided(conditional, unconditional, torch.tensor([0.0])).tolist() == [[1.0, 2.0]]
    assert guided(conditional, unconditional, torch.tensor([1.0])).tolist() == [[1.5, 1.0]]


@pytest.mark.parametrize(
    ("confidence", "count", "threshold", "expected"),
    [
        ([0.1, 0.9, 0.5], 2, None, [1, 2]),
        ([0.5, 0.9, 0.5, 0.5], 2, None, [1, 0]),  # of equals the leftmost
        ([0.1, 0.95, 0.92], 1, 0.9, [1, 2]),  # all that reach it, whatever the count
        ([0.1, 0.2, 0.3], 1, 0.9, [2]),  # at least the best
        ([0.1, 0.9], 1, 0.9, [1]),  # the threshold itself is enough
        ([-2.0, -1.0], 1, None, [1]),
    ],
)
def test_what_a_pass_commits(
    confidence: list[float], count: int, threshold: float | None, expected: list[int]
) -> None:
    assert committed(np.array(confidence), count, threshold).tolist() == expected
