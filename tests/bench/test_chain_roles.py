"""What a reviser reads: the cut, the mark, and no character that its tokenizer lacks; its rates by hand."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.tasks.chain import draw_chains
from tests.bench.revising import ATTEMPTS, CONTINUED, cut, first_doubted, marked, of_others, rates, revision

LINES = ["a51/3=17\n", "b17+67=85\n", "#85\n"]
CHARACTERS = set("\n #*+-/0123456789=abcdefgh")


@pytest.mark.parametrize(
    ("rewards", "doubted"),
    [([0.9, 0.4, 0.1], 1), ([0.2], 0), ([0.9, 0.5], None), ([0.1, 0.9], 0), ([], None)],
)
def test_the_first_low_reward_is_doubted(rewards: list[float], doubted: int | None) -> None:
    assert first_doubted(rewards) == doubted


@pytest.mark.parametrize(
    ("doubted", "kept", "shown"),
    [
        (None, "a51/3=17\nb17+67=85\n#85\n", "a51/3=17\nb17+67=85\n#85\n"),
        (0, "", "a51/3=17#\nb17+67=85\n#85\n"),
        (1, "a51/3=17\n", "a51/3=17\nb17+67=85#\n#85\n"),
        (2, "a51/3=17\nb17+67=85\n", "a51/3=17\nb17+67=85\n#85#\n"),
    ],
)
def test_an_attempt_is_cut_or_marked(doubted: int | None, kept: str, shown: str) -> None:
    assert cut(LINES, doubted) == kept
    assert marked(LINES, doubted) == shown


def test_a_prompt_ends_in_the_question_or_in_the_last_line_kept() -> None:
    assert revision("cut", "51 a/3 b+67", LINES, 1) == "a51/3=17\n##\n51 a/3 b+67"
    assert revision(CONTINUED, "51 a/3 b+67", LINES, 1) == "51 a/3 b+67\na51/3=17"
    assert revision(CONTINUED, "51 a/3 b+67", LINES, 0) == "51 a/3 b+67"


@pytest.mark.parametrize("variant", [*ATTEMPTS, CONTINUED])
def test_the_shipped_tokenizer_knows_every_character(variant: str) -> None:
    for i, chain in enumerate(draw_chains("train", 0, 20)):
        prompt = revision(variant, chain.question, chain.lines, i % 9)
        assert set(prompt) <= CHARACTERS
        assert prompt.count("##\n") == (variant != CONTINUED)


def test_a_fresh_sample_is_no_revision() -> None:
    """A revision that is drawn as the attempts are is not ahead of them."""
    rng, chance = np.random.default_rng(2), np.random.default_rng(3).random((600, 1))
    found = rates(rng.random((600, 4)) < chance, rng.random((600, 4)) < chance)
    _, low, high = found["ahead"]
    assert low < 0 < high
    assert high - low < 0.1


def test_rates_by_hand() -> None:
    """Two problems: 2 of 3 attempts are right, then 0 of 3; one wrong attempt of each is mended."""
    before = np.array([[True, True, False], [False, False, False]])
    found = rates(before, np.array([[True, False, True], [True, False, False]]))
    assert (found["fresh"], found["f"], found["b"]) == (2 / 6, 2 / 4, 1 / 2)
    assert found["fresh_on_missed"] == 1 / 4
    assert found["ratio"] == 2
    assert found["ahead"][0] == 1 / 4
    assert (found["missed"], found["wrong_attempts"]) == (2, 4)


def test_the_control_reads_a_wrong_attempt_at_another_problem() -> None:
    questions, wrong = ["1", "1", "2", "2", "3"], [True, False, True, False, False]
    assert of_others(questions, wrong) == [2, 2, 0, 0, 0]
