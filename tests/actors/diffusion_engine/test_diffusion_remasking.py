"""One pass as mathematics: noise, draws, measures of confidence, and what is committed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from actors.batching.sampling import Floats
from actors.batching.splitmix import mix
from actors.diffusion_engine.noise import _mix, position_keys, position_uniforms, token_uniforms
from actors.diffusion_engine.remasking import Prediction, committed, guided, in_nucleus, predict
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


def nucleus_of(p: Sequence[float], top_p: float) -> set[int]:
    """Tokens from the most probable on, until their sum exceeds ``top_p``; of equals the lower id first."""
    kept: list[int] = []
    for token in sorted(range(len(p)), key=lambda token: -p[token]):
        if kept and math.fsum(p[i] for i in kept) > top_p:
            break
        kept.append(token)
    return set(kept)


# Their sums are exact: 0.5, 0.75 and 0.875 are reached, and not exceeded. Of 64 equal numbers a sort that is
# not stable changes the order.
WEIGHTS = ([4, 2, 1, 1], [2, 2, 2, 2], [1, 2, 1, 4], [1], [0, 8, 0], [3, 3, 1, 1], [1] * 8, [1] * 64)


@pytest.mark.parametrize("weights", WEIGHTS, ids=range(len(WEIGHTS)))
def test_the_nucleus_exceeds_top_p(weights: list[int]) -> None:
    """With equal tokens, with one token, and where the sum is exactly ``top_p``."""
    p = np.array(weights) / sum(weights)
    top_p = torch.tensor([1e-9, 0.125, 0.3, 0.5, 0.6, 0.75, 0.875, 0.999], dtype=torch.float64)
    inside = in_nucleus(torch.log(torch.tensor(p)).repeat(len(top_p), 1), top_p).numpy()
    expected = [nucleus_of(p.tolist(), each) for each in top_p.tolist()]
    assert [set(np.flatnonzero(row)) for row in inside] == expected


TOP_P = 0.7
MEASURES: dict[str, Callable[[Floats, int], float]] = {
    "low_confidence": lambda q, token: q[token],
    "topk_margin": lambda q, _: float(np.diff(np.sort(q)[-2:])[0]),
    "entropy": lambda q, _: float(sum(x * math.log(x) for x in q if x > 0)),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
def test_dreams_confidence_is_that_of_the_nucleus(name: str, temperature: float) -> None:
    """After temperature and top-p; the likelihood is still that at temperature 1 over all tokens."""
    p, num = np.array([0.4, 0.25, 0.2, 0.1, 0.05]), 40
    cooled = p ** (1 / temperature) if temperature else p
    cooled /= cooled.sum()
    kept = nucleus_of(cooled.tolist(), TOP_P)
    assert 1 < len(kept) < 5
    q = np.array([x if i in kept else 0.0 for i, x in enumerate(cooled)])
    rows = torch.log(torch.tensor(p)).repeat(num, 1)
    warm, top_p = (torch.full((num,), x, dtype=torch.float64) for x in (temperature, TOP_P))
    found = predict(rows, warm, keys_of(num), [name] * num, top_p=top_p, tempered=True)
    assert set(found.tokens.tolist()) == (kept if temperature else {0})
    assert found.confidence == pytest.approx([MEASURES[name](q / q.sum(), t) for t in found.tokens])
    assert found.logprobs == pytest.approx(np.log(p[found.tokens]))
    elsewhere = predict(rows, warm, keys_of(num), [name] * num, top_p=top_p)
    assert elsewhere.tokens.tolist() == found.tokens.tolist()
    assert elsewhere.confidence == pytest.approx([MEASURES[name](p, t) for t in found.tokens])


def test_a_nucleus_of_one_token_is_certain() -> None:
    tiny, warm = torch.full((2,), 1e-9, dtype=torch.float64), torch.full((2,), 5.0, dtype=torch.float64)
    for name, certain in (("low_confidence", 1.0), ("topk_margin", 1.0), ("entropy", 0.0)):
        found = predict(LOGITS, warm, keys_of(2), [name] * 2, top_p=tiny, tempered=True)
        assert found.tokens.tolist() == [0, 2] and found.confidence.tolist() == [certain, certain]


def test_draws_follow_the_nucleus() -> None:
    """That of the tempered distribution, which has three tokens here; at temperature 1 it would have four."""
    num, p = 4000, np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    rows = torch.log(torch.tensor(p)).repeat(num, 1)
    half, top_p = (torch.full((num,), x, dtype=torch.float64) for x in (0.5, 0.9))
    found = predict(rows, half, keys_of(num), ["random"] * num, top_p=top_p)
    kept = p[:3] ** 2 / (p[:3] ** 2).sum()
    assert abs(chi_square_excess(Counter(found.tokens.tolist()), dict(enumerate(kept.tolist())))) < 5


@pytest.mark.parametrize("tempered", [False, True])
def test_all_of_it_changes_no_bit(tempered: bool) -> None:
    """A row with ``top_p`` 1 is that without one, beside rows with a nucleus too."""
    rows, num = torch.randn(30, 40, generator=torch.Generator().manual_seed(1)), 30
    warm = torch.tensor([0.0, 0.7, 1.3], dtype=torch.float64).repeat(10)
    names = [name for name in ("low_confidence", "topk_margin", "entropy") for _ in range(10)]
    before = predict(rows, warm, keys_of(num), names, tempered=tempered)
    ones = torch.ones(num, dtype=torch.float64)
    assert_same(before, predict(rows, warm, keys_of(num), names, top_p=ones, tempered=tempered), slice(None))
    some = ones.clone()
    some[::2] = 0.3
    mixed = predict(rows, warm, keys_of(num), names, top_p=some, tempered=tempered)
    assert_same(before, mixed, slice(1, None, 2))
    assert mixed.tokens[::2].tolist() != before.tokens[::2].tolist()


def assert_same(one: Prediction, other: Prediction, part: slice) -> None:
    """Assert that two predictions are equal bit by bit in some rows."""
    for name in ("tokens", "logprobs", "confidence", "best", "best_probability"):
        assert getattr(one, name)[part].tobytes() == getattr(other, name)[part].tobytes(), name


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
