"""From candidates to one answer: ties, zeros, missing answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from strategies.parts.selection import draw
from strategies.parts.voting import argmax, lead, vote

INF = math.inf


@pytest.mark.parametrize(
    ("scores", "index"),
    [([1.0], 0), ([1.0, 3.0, 2.0], 1), ([2.0, 2.0], 0), ([-INF, -INF], 0), ([-INF, 0.0], 1)],
)
def test_argmax(scores: list[float], index: int) -> None:
    assert argmax(scores) == index


@pytest.mark.parametrize(
    ("keys", "scores", "weights", "index"),
    [
        pytest.param(["7", "8", "8"], [9, 1, 2], None, 2, id="most votes, then the best of them"),
        pytest.param(["7", None, None], [0, 9, 9], None, 0, id="an unparsed answer has no vote"),
        pytest.param([None, None], [0, 0], None, None, id="no answer at all"),
        pytest.param(["7", "8"], [0, 0], None, 0, id="a tie goes to the earliest"),
        pytest.param(["7", "8"], [0, 1], None, 1, id="but first to the greatest score"),
        pytest.param(["8", "7", "7", "8"], [-INF] * 4, None, 0, id="scores of -inf tie too"),
        pytest.param(["7", "7", "8"], [0, 0, 0], [0.1, 0.1, 0.3], 2, id="weights, not counts"),
        pytest.param(["7", "8", "8"], [1, 0, 0], [0.0, 0.0, 0.0], 1, id="zeros: the count decides"),
        pytest.param(["7", "8"], [0, 0], [0.0, 0.2], 1, id="a zero loses against more"),
        pytest.param(["8", "7", "7"], [0, 0, 0], [0.3, 0.1, 0.2], 1, id=".1+.2 ties with .3: count"),
    ],
)
def test_vote(
    keys: list[str | None], scores: list[float], weights: list[float] | None, index: int | None
) -> None:
    assert vote(keys, scores, weights) == index


def test_a_vote_does_not_depend_on_the_order_of_keys() -> None:
    rng = np.random.default_rng(0)
    keys, scores = ["a", "b", "b", "c", "c", "a", "a"], list(rng.random(7))
    weights = list(rng.random(7))
    winner = vote(keys, scores, weights)
    assert winner is not None
    for _ in range(20):
        order = rng.permutation(7)
        moved = vote([keys[i] for i in order], [scores[i] for i in order], [weights[i] for i in order])
        assert moved is not None and order[moved] == winner


@pytest.mark.parametrize(
    ("keys", "weights", "votes"),
    [
        (["a", "a", "b", None], None, 1.0),
        (["a"], None, 1.0),
        ([None], None, 0.0),
        (["a", "b"], [0.2, 0.9], 0.7),
    ],
)
def test_lead(keys: list[str | None], weights: list[float] | None, votes: float) -> None:
    assert lead(keys, weights) == pytest.approx(votes)


def test_draw_follows_the_weights() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([draw(rng, [math.log(3), -INF, 0.0]) for _ in range(800)], minlength=3)
    assert counts[1] == 0
    assert counts[0] / 800 == pytest.approx(0.75, abs=0.06)
