"""Replies of roles by table, hostile ones included; None wherever nothing can be read."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.prompts.replies import (
    finds_no_error,
    read_choice,
    read_mark,
    read_marks,
    read_order,
    read_score,
    read_sections,
    read_shares,
    read_statements,
)

HOSTILE = [
    "",
    " \n",
    "\0",
    "{question}",
    "[" * 50_000,
    "{" * 50_000,
    "[[[",
    "[]",
    "{}",
    "\ud800",
    "[9] > [0]",
]


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ("[2] > [1] > [3]", (1, 0, 2)),
        ("[3]", (2, 0, 1)),
        ("Best is [ 2 ], then [2] and [7].", (1, 0, 2)),
        ("2 > 1 > 3", None),
        ("[0] [4]", None),
    ],
)
def test_a_ranking(reply: str, order: tuple[int, ...] | None) -> None:
    assert read_order(reply, 3) == order


@given(st.text(alphabet="[]0123456789> \n", max_size=40), st.integers(0, 6))
def test_a_ranking_is_a_permutation(reply: str, num_items: int) -> None:
    order = read_order(reply, num_items)
    assert order is None or sorted(order) == list(range(num_items))


def test_sections() -> None:
    reply = "Here:\n[1] Clear.\nBut slow.\n  [3]: wrong\n[9] none\n[1] again"
    assert read_sections(reply, 3) == ("Clear.\nBut slow.\nagain", "", ": wrong\n[9] none")
    assert read_sections("as [1] says", 3) is None


@pytest.mark.parametrize(
    ("reply", "accepted"),
    [
        ("[Correct]", True),
        ("it is [INCORRECT], not [Correct]", False),
        ("Correct", None),
        ("[correct] [Incorrect]", True),
    ],
)
def test_the_first_mark_counts(reply: str, accepted: bool | None) -> None:
    assert read_mark(reply, "[Correct]", "[Incorrect]") is accepted


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ("[1] [Passed]\n[2] no: [failed]", (True, False)),
        ("[2] [Passed] [Failed]", (None, True)),
        ("[Passed], [FAILED]", (True, False)),
        ("[Passed] [Passed] [Failed]", None),
        ("[1] yes\n[2] no", None),
    ],
)
def test_a_mark_for_each(reply: str, marks: tuple[bool | None, ...] | None) -> None:
    assert read_marks(reply, 2, "[Passed]", "[Failed]") == marks


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Score: 3\nScore: -100", -100),
        ("score :+7.", 7),
        ("Score: 101", None),
        ("Score: 9.5", None),
        ("Score: 1,000", None),
        ("Score: ten", None),
        ("Score: 5\nScore: 500", None),
    ],
)
def test_the_last_score_counts(reply: str, score: int | None) -> None:
    assert read_score(reply, -100, 100) == score


@pytest.mark.parametrize(("reply", "choice"), [("2", 1), ("not 7 but 3.", 2), ("0", None), ("12", None)])
def test_a_choice(reply: str, choice: int | None) -> None:
    assert read_choice(reply, 3) == choice


@pytest.mark.parametrize(
    ("reply", "statements"),
    [
        ('Sure: ["a", " b ", ""]', ("a", "b")),
        ("- a\n2. b\n\n(3) c", ("a", "b", "c")),
        ('["a", 1]', ('["a", 1]',)),
        (" \n", None),
    ],
)
def test_statements(reply: str, statements: tuple[str, ...] | None) -> None:
    assert read_statements(reply, 3) == statements


def test_shares() -> None:
    assert read_shares('so {"a": 0.25, "b": 2, "c": true}', "abcd") == {
        "a": 0.25,
        "b": 0.5,
        "c": 0.5,
        "d": 0.5,
    }
    assert read_shares('{"a": NaN}', "a") == {"a": 0.5}
    assert read_shares("a: 1", "a") is None


@pytest.mark.parametrize(
    ("critique", "ends"), [("No error.", True), ("there are NO ERRORS", True), ("No, error in step 1", False)]
)
def test_a_critique_without_error(critique: str, ends: bool) -> None:
    assert finds_no_error(critique) is ends


@pytest.mark.parametrize("reply", HOSTILE)
def test_hostile_replies_are_read_in_linear_time(reply: str) -> None:
    begun = time.process_time()
    read = (read_order(reply, 2), read_sections(reply, 2), read_score(reply, 0, 9), read_choice(reply, 2))
    assert read == (None, None, None, None)
    assert read_marks(reply, 2, "[Passed]", "[Failed]") is None
    read_statements(reply, 5)
    assert read_shares(reply, "a") in (None, {"a": 0.5})
    assert time.process_time() - begun < 2
