"""The figures that decide whether a model ships, against groups small enough to count by hand."""

import pytest

from actors.embedded.evaluate import best_of, by_step, judge, majority, reward_of, within_problem_auc
from actors.embedded.families import CHAIN, COUNTDOWN
from actors.embedded.solutions import Sample
from orchestrator.tasks.chain import parse_question as parse_chain
from orchestrator.tasks.countdown import parse_question as parse_puzzle
from orchestrator.types import Reward, Step

RIGHT = ["13-9=4 5,4", "5-4=1 1", "#1"]
LOST = ["13+9=22 5,22", "22+5=27 27", "#27"]
LIES = ["13-9=4 5,4", "5-4=2 2", "#1"]


def sample(lines: list[str], log_odds: list[float]) -> Sample:
    return tuple(Step(f"{line}\n", (), reward=Reward(x)) for line, x in zip(lines, log_odds, strict=True))


GROUPS = judge(
    COUNTDOWN,
    [parse_puzzle("5,9,13:1")],
    [
        [
            sample(RIGHT, [0.0, 2.0, 3.0]),
            sample(LOST, [1.0, -1.0, -2.0]),
            sample(LIES, [0.0, 1.0, 1.0]),
            sample(LOST, [-1.0, 2.0, 9.0]),
        ]
    ],
)


def test_what_is_true_of_the_samples() -> None:
    (group,) = GROUPS
    assert group.are_right == [[True] * 3, [False] * 3, [True, False, False], [False] * 3]
    assert group.is_right == [True, False, False, False]
    assert group.num_right == 1
    assert group.answers[1] == group.answers[3] != group.answers[0]


def test_auc_within_a_problem_weighs_steps_by_their_pairs() -> None:
    first, second = 0.5, (1 + 1 + 0.5) / 3  # 4 pairs: two right states against 1 and -1; then 3 pairs
    assert within_problem_auc(GROUPS, [0]) == first
    assert within_problem_auc(GROUPS, [1]) == pytest.approx(second)
    assert within_problem_auc(GROUPS, [0, 1]) == pytest.approx((4 * first + 3 * second) / 7)
    assert within_problem_auc(GROUPS, [0], of_answer=True) == pytest.approx((0 + 0.5 + 1) / 3)
    assert within_problem_auc(GROUPS, [7]) is None


def test_by_step_tells_how_sure_and_how_right() -> None:
    rows = by_step(GROUPS, 4)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["state_right"] for row in rows] == [0.5, 0.25, 0.25]
    assert [row["ends_right"] for row in rows] == [0.25] * 3
    assert rows[0]["mean_reward"] == pytest.approx(0.5)  # log-odds 0, 1, 0, -1


def test_best_of_and_majority_take_disjoint_groups() -> None:
    assert best_of(GROUPS, reward_of, 1) == 0.25
    assert best_of(GROUPS, reward_of, 2) == 0.5
    assert best_of(GROUPS, reward_of, 4) == 0.0
    assert majority(GROUPS, 2) == 0.5  # the earliest wins a tie
    assert majority(GROUPS, 4) == 0.0


def test_chains_are_judged_by_the_values_they_state() -> None:
    chain = parse_chain("51 a/3 b+2")
    healed = sample(["a51/3=18", "b18+2=19", "#19"], [0.0, 0.0, 0.0])
    early = sample(["a51/3=17", "#19"], [0.0, 0.0])
    mute = sample(["a51/3=17"], [0.0])
    (group,) = judge(CHAIN, [chain], [[healed, early, mute]])
    assert group.are_right == [[False, True, True], [True, True], [True]]
    assert group.is_right == [True, True, False]
    assert group.answers == [19, 19, None]
    assert majority([group], 3) == 1.0
