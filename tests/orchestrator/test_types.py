"""The values: rewards, trajectories, usages."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import VerifierError
from orchestrator.search.account import Account, Limits
from orchestrator.seeds import derive_seed, derive_seeds
from orchestrator.types import Finish, Reward, Sampling, Step, Trajectory, Usage, total


@given(st.floats(0, 1))
def test_reward_value_round_trips(value: float) -> None:
    assert Reward.from_value(value).value == pytest.approx(value, abs=1e-12)


def test_reward_edges() -> None:
    assert Reward.from_value(0.0).log_odds == -math.inf
    assert Reward.from_value(1.0).log_odds == math.inf
    assert Reward(-math.inf).value == 0.0
    assert Reward(math.inf).value == 1.0
    assert Reward(800.0).value == 1.0
    assert Reward(-800.0).value == 0.0


@given(st.floats(0, 1))
def test_a_reward_reaches_the_value_that_it_was_made_from(value: float) -> None:
    assert Reward.from_value(value).reaches(value)


@given(st.floats(-40, 40))
def test_a_reward_reaches_the_value_that_is_written_of_it(log_odds: float) -> None:
    assert Reward(log_odds).reaches(Reward(log_odds).value)


@pytest.mark.parametrize(
    ("value", "level", "reached"),
    [
        (0.9, 0.9, True),  # whose log-odds have a value below it
        (0.9, 0.900001, False),
        (0.0, 0.0, True),
        (0.0, 1e-300, False),
        (1.0, 1.0, True),
        (1.0, 1.000001, False),
        (0.0, -1.0, True),
    ],
)
def test_whether_a_reward_reaches_a_level(value: float, level: float, reached: bool) -> None:
    assert Reward.from_value(value).reaches(level) is reached


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_reward_outside_is_an_error(value: float) -> None:
    with pytest.raises(VerifierError, match=r"must be a number in \[0, 1\]"):
        Reward.from_value(value)


def test_nan_log_odds_are_an_error() -> None:
    with pytest.raises(VerifierError, match="NaN"):
        Reward(math.nan)


def test_extending_leaves_the_old_trajectory() -> None:
    first = Trajectory().extend(Step("a\n", (1, 2)))
    second = first.extend(Step("b", (3,), reward=Reward(0.0), finish=Finish.EOS))
    assert (first.text, second.text) == ("a\n", "a\nb")
    assert second.token_ids == (1, 2, 3)
    assert second.num_tokens == 3
    assert first.active and not first.finished
    assert second.finished and not second.active
    assert second.reward == Reward(0.0) and first.reward is None
    with pytest.raises(ValueError, match="ended its text"):
        second.extend(Step("c", (4,)))


def test_a_truncated_trajectory_is_not_finished() -> None:
    cut = Trajectory().extend(Step("a", (1,), finish=Finish.LENGTH))
    assert cut.truncated and not cut.finished and not cut.active


def test_values_pickle() -> None:
    trajectory = Trajectory().extend(Step("a", (1,), -0.5, Reward(1.0), Finish.ANSWER))
    assert pickle.loads(pickle.dumps(trajectory)) == trajectory


def test_usage_adds_up() -> None:
    a, b = Usage(1, 2, 3, 4, 5, 6, 7, 8.0), Usage(10, 20, 30, 40, 50, 60, 70, 80.0)
    assert total([a, b]) == Usage(11, 22, 33, 44, 55, 66, 77, 88.0)


def test_clipping_never_raises_a_limit() -> None:
    assert Sampling(0.5, 0.9, 10).clip(4) == Sampling(0.5, 0.9, 4)
    assert Sampling(max_tokens=10).clip(40).max_tokens == 10


counts = st.integers(0, 2**40)
usages = st.builds(Usage, *[counts] * 7, st.floats(0, 1e30))


@given(st.lists(usages, max_size=6))
def test_a_total_adds_up_from_the_first_to_the_last(spent: list[Usage]) -> None:
    """To the last digit of the FLOPs: a ledger does not depend on how its parts were put together."""
    assert total(spent) == sum(spent, Usage())


@given(usages, st.lists(usages, max_size=4))
def test_an_account_counts_one_reward_call_a_reply(before: Usage, spent: list[Usage]) -> None:
    account = Account(Limits())
    account.spend([before])
    account.spend(spent, reward_calls=len(spent))
    assert account.usage.reward_calls == before.reward_calls + len(spent)
    assert account.usage.reward_tokens == before.reward_tokens + sum(u.reward_tokens for u in spent)


@given(st.lists(st.integers() | st.text(max_size=5), max_size=4), st.lists(st.integers(0, 99), max_size=5))
def test_seeds_of_a_call_are_those_of_its_rows(names: list[object], rows: list[int]) -> None:
    assert derive_seeds(names, rows) == [derive_seed(*names, row) for row in rows]
    assert derive_seed(7, "p", "", 1, 0) == 7476024842945572386
