"""The letter of a choice that an answer names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.grading_letters import read_letter


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("[B]", "B"), ("B.", "B"), (r"\text{B}", "B"), ("**B**", "B"),
        (r"\textbf{(B)}", "B"), ("B. the days become shorter", "B"), ("B) shorter", "B"), ("$B$", "B"),
        ("(C) shorter", "C"), ("option D", "D"), ("The answer is (a).", "A"),
        ("A car", None), ("AB", None), ("shorter days", None), ("A or B", None), ("", None), ("4", None),
    ],
)  # fmt: skip
def test_letters(answer: str, letter: str | None) -> None:
    assert read_letter(answer) == letter


@given(st.text(max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    read_letter(text)
