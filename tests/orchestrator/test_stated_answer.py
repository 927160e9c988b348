"""Where a solution states its answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stated_answer import find_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{5}", "5"),
        (r"\boxed{4}, no: \boxed{5}.", "5"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 3 \right.}", r"\left\{ 3 \right."),
        (r"$\boxed {7}$", "7"),
        (r"\boxed{4} and then \boxed{5", None),
        (r"\boxed{5", None),
        (r"\boxed{}", None),
        (r"\boxed{ }", None),
        (r"\boxed{...}", None),
        ("the answer is 5", None),
        ("", None),
    ],
)
def test_the_last_box_decides(text: str, answer: str | None) -> None:
    assert find_answer(text, ("box",)) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>\n12\n</answer>", "12"),
        ("<answer>1</answer> <answer>2</answer>", "2"),
        ("<answer>\\boxed{3}</answer>", "3"),
        ("<answer>\\boxed{3</answer>", None),
        ("<answer>3", None),
        ("so it is 18\n#### 18", "18"),
        ("#### 1\n#### 1,234\n", "1,234"),
        ("<answer>1</answer>\n#### 2", "1"),
        ("####", None),
    ],
)
def test_other_forms_of_an_answer(text: str, answer: str | None) -> None:
    assert find_answer(text, ("box", "tag", "hashes")) == answer


@given(st.text("ab{}\\", max_size=12), st.text("xyz ", min_size=1).filter(str.strip))
def test_whatever_comes_before_a_box(noise: str, answer: str) -> None:
    assert find_answer(f"{noise} \\boxed{{{answer}}}", ("box",)) == answer.strip()


@given(st.text(max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    find_answer(text, ("box", "tag", "hashes"))
