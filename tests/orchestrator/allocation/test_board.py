"""Rounds of grants: a table of bids against grants, sums, order, and problems that end in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.allocator import TopShare
from orchestrator.allocation.bids import Bid, improvement, need
from orchestrator.allocation.board import Board
from orchestrator.errors import ConfigError


@pytest.mark.parametrize(
    ("share", "gains", "left", "parcels"),
    [
        (0.1, [0.2, 0.9, 0.5], 5, [0, 1, 0]),
        (0.5, [0.2, 0.9, 0.5, 0.4], 5, [0, 1, 1, 0]),
        (1.0, [0.2, 0.9, 0.5], 2, [0, 1, 1]),  # what is left goes to the greatest gains
        (0.5, [0.5, 0.5, 0.5, 0.5], 5, [1, 1, 0, 0]),  # a tie goes to the first problem
        (1.0, [0.0, 0.3, 0.0], 5, [0, 1, 0]),  # nothing is gained there
        (1.0, [0.2, 0.9], 0, [0, 0]),
        (0.1, [], 5, []),
    ],
)
def test_bids_and_grants(share: float, gains: list[float], left: float, parcels: list[int]) -> None:
    assert TopShare(share).grant([Bid(gain) for gain in gains], left) == parcels


def test_a_bid_that_is_too_dear_leaves_its_place_to_a_cheaper_one() -> None:
    assert TopShare(0.1).grant([Bid(0.9, 4.0), Bid(0.5, 1.0)], 2.0) == [0, 1]


def test_need_is_what_the_best_reward_leaves() -> None:
    assert need([0.2, 0.7]) == pytest.approx(0.3) and need([]) == 1.0


@given(st.lists(st.sampled_from([0.1, 0.3, 0.6, 0.9]), max_size=5), st.integers(1, 4))
def test_improvement_is_the_mean_over_a_discrete_prior(rewards: list[float], weight: int) -> None:
    """By brute force: one more sample is one of the prior's, or with the other weight one of the own ones."""
    prior = [0.1, 0.3, 0.3, 0.9]
    best, n = max(rewards, default=0.0), len(rewards)
    draws = [(weight / (n + weight) / len(prior), x) for x in prior]
    draws += [(1 / (n + weight), x) for x in rewards]
    assert sum(p for p, _ in draws) == pytest.approx(1.0)
    brute = sum(p * (max(x, best) - best) for p, x in draws)
    assert improvement(rewards, prior, weight) == pytest.approx(brute)


def test_bad_share() -> None:
    with pytest.raises(ConfigError, match=r"allocator\.share=0"):
        TopShare(0)


def played(
    rewards: Sequence[Sequence[float]], left: float, share: float, *, order: Callable[[list[int]], list[int]]
) -> tuple[list[int], Board]:
    """Grant samples of stored problems, which act in this order; return how many each of them has drawn."""
    counts = [1] * len(rewards)
    board = Board(TopShare(share), range(len(rewards)), left)
    awake = list(range(len(rewards)))
    while awake:
        for i in order(awake):
            if counts[i] == len(rewards[i]):
                board.done(i)
            else:
                board.bid(i, Bid(need(rewards[i][: counts[i]])))
        granted = board.settle()
        awake = [i for i, parcels in granted.items() if parcels]
        for i in awake:
            counts[i] += 1
    return counts, board


tables = st.lists(st.lists(st.floats(0, 0.999), min_size=12, max_size=12), min_size=1, max_size=8)


@given(tables, st.integers(0, 30), st.sampled_from([0.1, 0.5, 1.0]))
def test_the_sum_of_grants_is_the_budget(rewards: list[list[float]], left: int, share: float) -> None:
    """Always: unless every problem has as many samples as there are."""
    counts, board = played(rewards, left, share, order=list)
    assert sum(counts) - len(rewards) == board.granted == min(left, 11 * len(rewards))
    assert board.left == left - board.granted


@given(tables, st.integers(0, 20), st.randoms())
def test_the_order_of_arrival_changes_nothing(rewards: list[list[float]], left: int, random: object) -> None:
    def shuffled(awake: list[int]) -> list[int]:
        return sorted(awake, key=lambda _: random.random())  # type: ignore[attr-defined]

    assert played(rewards, left, 0.1, order=shuffled)[0] == played(rewards, left, 0.1, order=list)[0]


@given(st.permutations(range(6)), st.integers(0, 20))
def test_permuted_problems_have_permuted_grants(places: list[int], left: int) -> None:
    rewards = [[(7 * i + 13 * k) % 101 / 103 for k in range(12)] for i in range(6)]  # without ties
    plain, _ = played(rewards, left, 0.1, order=list)
    moved, _ = played([rewards[i] for i in places], left, 0.1, order=list)
    assert moved == [plain[i] for i in places]


def test_nothing_is_granted_while_one_is_thinking() -> None:
    board = Board(TopShare(1.0), range(3), 10)
    board.bid(0, Bid(0.5))
    board.bid(2, Bid(0.4))
    assert board.settle() == {}
    board.bid(1, Bid(0.3))
    assert board.settle() == {0: 1, 1: 1, 2: 1}
    assert board.settle() == {}


def test_a_bid_stands_until_it_is_granted() -> None:
    board = Board(TopShare(0.1), range(2), 3)
    board.bid(0, Bid(0.9))
    board.bid(1, Bid(0.2))
    assert board.settle() == {0: 1}
    board.bid(0, Bid(0.1))
    assert board.settle() == {1: 1}
    board.bid(1, Bid(0.05))
    assert board.settle() == {0: 1}
    board.bid(0, Bid(0.01))
    assert board.settle() == {0: 0, 1: 0}  # the budget is used up


def test_a_problem_that_dies_in_round_3_gives_back_what_it_did_not_use() -> None:
    board = Board(TopShare(0.1), range(2), 3)
    for _ in range(2):
        board.bid(0, Bid(0.9))
        if board.num_rounds == 0:
            board.bid(1, Bid(0.2))
        assert board.settle() == {0: 1}
    assert (board.left, board.num_rounds) == (1, 2)
    board.done(0, unused=1)
    assert board.left == 2
    for _ in range(2):
        assert board.settle() == {1: 1}
        board.bid(1, Bid(0.2))
    assert board.settle() == {1: 0} and board.granted == 3


def test_one_problem_alone_gets_all() -> None:
    counts, _ = played([[0.1] * 12], 7, 0.1, order=list)
    assert counts == [8]


def test_a_first_round_that_takes_the_whole_budget_leaves_nothing() -> None:
    counts, board = played([[0.1] * 12] * 3, 0, 0.1, order=list)
    assert counts == [1, 1, 1] and board.granted == 0
