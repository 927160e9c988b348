"""Rounds of grants: a table of bids against grants, sums, order, and problems that end in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.allocation.allocator import TopShare
from orchestrator.allocation.bids import Bid, improvement, need
from orchestrator.allocation.board import Board
from orchestrator.allocation.floors import fit_floors, never_solved
from orchestrator.allocation.rounds import Rounds, floors_of
from orchestrator.errors import ConfigError
from orchestrator.types import RoundRecord


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


def replayed(
    rewards: Sequence[Sequence[float]],
    left: float,
    records: Sequence[Sequence[RoundRecord]],
) -> list[list[RoundRecord]]:
    """Grant samples again to problems of which some first bids were recorded; return what each is granted."""
    board = Board(TopShare(0.5), range(len(rewards)), left)
    found: list[list[RoundRecord]] = [[] for _ in rewards]
    for i, recorded in enumerate(records):
        board.promise(i, recorded)
    awake = list(range(len(rewards)))
    while awake:
        for i in awake:
            num = 1 + sum(r.granted for r in found[i])
            if num == len(rewards[i]):
                board.done(i)
            else:
                recorded = records[i][len(found[i])] if len(found[i]) < len(records[i]) else None
                board.bid(i, Bid(need(rewards[i][:num])), recorded)
        granted = board.settle()
        for i, parcels in granted.items():
            found[i].append(RoundRecord(board.num_rounds, 0.0, 1.0, parcels))
        awake = [i for i, parcels in granted.items() if parcels]
    return found


@given(tables, st.integers(0, 20), st.data())
def test_records_that_end_anywhere_are_continued_as_they_were(
    rewards: list[list[float]], left: int, data: st.DataObject
) -> None:
    """As after a kill between the lines of one round, or a power cut."""
    whole = replayed(rewards, left, [[]] * len(rewards))
    kept = [records[: data.draw(st.integers(0, len(records)))] for records in whole]
    assert replayed(rewards, left, kept) == whole


@given(tables, st.integers(0, 20), st.integers(0, 7))
def test_what_was_granted_stands_and_the_rest_is_never_more_than_is_left(
    rewards: list[list[float]], left: int, victim: int
) -> None:
    """One whose records are lost bids otherwise than before: with other rewards, as no failed one does."""
    victim %= len(rewards)
    whole = replayed(rewards, left, [[]] * len(rewards))
    kept = [records if i != victim else [] for i, records in enumerate(whole)]
    others = [row if i != victim else [1 - x for x in row] for i, row in enumerate(rewards)]
    again = replayed(others, left, kept)
    assert sum(r.granted for records in again for r in records) <= left
    for i, records in enumerate(again):
        if i != victim:
            assert [r.granted for r in records] == [r.granted for r in whole[i]]


def test_first_rewards_are_pooled_by_problem_once_all_have_them() -> None:
    board = Board(TopShare(1.0), range(3), 3)
    board.pool(2, [0.3])
    board.done(1)
    assert board.pooled() == (set(), ())
    board.pool(0, [0.1, 0.2])
    assert board.pooled() == ({0, 2}, (0.1, 0.2, 0.3))
    assert board.settle() == {}  # both are thinking again


@pytest.mark.parametrize(
    ("give_up", "floors"),
    [
        ({4: 0.5, 2: 0.1}, ((2, 0.1), (4, 0.5))),
        ({"4": 1}, ((4, 1.0),)),
        ((), None),
        ({0: 0.5}, None),
        ({4: 1.5}, None),
        ({4: "low"}, None),
        ("file", None),
        ({4: math.nan}, None),
    ],
)
def test_floors(give_up: object, floors: object) -> None:
    assert floors_of(give_up) == floors


@pytest.mark.parametrize(("num_samples", "floor"), [(1, 0.0), (2, 0.5), (3, 0.5), (4, 0.1), (9, 0.1)])
def test_the_floor_of_the_most_samples_counts(num_samples: int, floor: float) -> None:
    assert Rounds(give_up={2: 0.5, 4: 0.1}).floor(num_samples) == floor
    assert Rounds().floor(num_samples) == 0


def test_floors_give_up_the_share_that_is_never_solved() -> None:
    """Half of the problems have a chance of a half, the others none: their rewards are apart."""
    rng, num = np.random.default_rng(0), 200
    right = [rng.random(16) < (0.5 if i % 4 < 2 else 0.0) for i in range(num)]
    rewards = [0.8 * each + 0.1 * rng.random(16) for each in right]
    assert never_solved(right) == pytest.approx(0.5, abs=0.02)
    last = fit_floors(right, rewards, [2, 16])[-1]
    assert 0.05 < last.level <= 0.9 and last.share == pytest.approx(0.5, abs=0.03) and last.num_solved <= 3


@pytest.mark.parametrize("gain", ["need", "improvement"])
def test_a_greater_reward_is_worth_less(gain: Any) -> None:
    rounds = Rounds(gain=gain)
    prior = [0.1, 0.5, 0.9]
    worth = [rounds.worth([x], prior) for x in (0.0, 0.3, 0.6, 0.9)]
    assert worth == sorted(worth, reverse=True) and len({*worth}) == 4


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"most": 0}, r"allocator\.most=0"),
        ({"first": 4, "most": 3}, r"allocator\.most=3: must be at least allocator\.first=4"),
        ({"gain": "votes"}, r"allocator\.gain=votes: .*did you mean 'vote'"),
        ({"prior_weight": 0}, r"allocator\.prior_weight=0"),
        ({"prior_weight": math.nan}, r"allocator\.prior_weight=nan"),
        ({"give_up": {0: 1}}, r"allocator\.give_up=\{0: 1\}: must be null, or \{samples: least reward\}"),
        ({"give_up": {2: 0.1}, "gain": "vote"}, r"allocator\.give_up=.*a vote has none"),
    ],
)
def test_bad_settings(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rounds(**knobs)
