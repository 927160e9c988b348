"""The letter of a choice that an answer names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tasks.grading.letters import read_letter

NAMED = [
    ("B", "B"), ("(b)", "B"), ("B)", "B"), ("B.", "B"), ("[B]", "B"), ("{B}", "B"), ("**B**", "B"),
    (r"\textbf{(B)}", "B"), (r"\text{B}", "B"), (r"\mathrm{B}", "B"), ("$B$", "B"), ("Option B", "B"),
    ("The answer is (B)", "B"), ("B: text", "B"), ("B - text", "B"), ("(B) text", "B"),
    ("option B is correct", "B"), ("Answer: B", "B"), ("I", "I"), ("\uff22", "B"),
    ("\uff08\uff22\uff09", "B"), ("\u24b7", "B"), ("B \u2013 text", "B"), ("B \u2014 text", "B"),
    ("B\u2014text", "B"), (r"\boxed{B}", "B"), (r"\textbf{(B)}\ 12", "B"), (r"\textbf{(B) }12", "B"),
    (r"\mathrm{(B)}~5", "B"), (r"\text{(B) }\frac{1}{2}", "B"), (r"{\bf B}", "B"),
    ("B because it is", "B"), ("B, because it is", "B"), ("B, not C", "B"), ("I choose (C)", "C"),
    ("It is C.", "C"), ("It's C", "C"), ("Therefore, C", "C"), ("So the answer is C", "C"),
    ("Thus the correct option is (d) the moon", "D"), ("the answer is a.", "A"), ("The answer is A", "A"),
    ("B\nbecause the sun", "B"), ("Explanation here\nB", "B"), ("Answer:\nB", "B"),
    ("Answer: (B) the days", "B"), ("\u7b54\u6848\u662fB", "B"), ("\u7b54\u6848\uff1a\uff08B\uff09", "B"),
    ("\u9009B", "B"), ("option a: a whale", "A"), ("option a is correct", "A"),
    ("C is the correct answer", "C"), ("C is correct", "C"), ("A is the best choice", "A"),
    ("C. vitamin D", "C"), ("D. A and B", "D"), ("D. Both A and B", "D"), ("D. both (A) and (B)", "D"),
    ("(D) A and B", "D"),
    ('"C"', "C"), ("'C'", "C"), ("\u201cC\u201d", "C"), ("`C`", "C"), ("__C__", "C"), ("_C_", "C"),
    ("<b>C</b>", "C"), ("- C", "C"), ("C \u2713", "C"), ("C!", "C"), ("C?", "C"), ("C.5", "C"),
    ("C.5 days", "C"), ("C.The whale", "C"), ("C:the whale", "C"), ("C)the whale", "C"),
    ("Choice C", "C"), ("choice (C)", "C"), ("letter C", "C"), ("Option: C", "C"), ("Option (C): x", "C"),
    ("The correct answer is option C", "C"), ("The correct answer is: C) a whale", "C"),
    ("The final answer is **C**", "C"), ("final answer: C", "C"), ("Ans: C", "C"), ("Ans. C", "C"),
    ("answer C", "C"), ("Option A is wrong. Option B is right", "B"),
    ("The correct answer is C, not option A", "C"), ("The correct answer is C, not A", "C"),
    ("B (a whale)", "B"), ("c - a whale", "C"), ("A.", "A"), ("a)", "A"), ("(A", "A"),
    ("What remains is C.", "C"), ("Selected: C", "C"), ("the option is the letter B", "B"),
    ("Answer - B", "B"),
    ("Answer = B", "B"), ("The right answer would be B", "B"), ("B. C", "B"), ("(B)", "B"),
    ("((B))", "B"), ("(B).", "B"), ("B).", "B"), (r"\left( B \right)", "B"), (r"\(B\)", "B"),
    (r"\[B\]", "B"), (r"\\text{B}", "B"), (r"\textcolor{red}{B}", "B"), (r"\underline{B}", "B"),
    ("B\\", "B"), (r"B \text{ because}", "B"), (r"\text{B. } x", "B"), (r"\text{Option }B", "B"),
    (r"\text{Option B: } 5", "B"), ("Answer B: shorter", "B"), ("The answer is B: shorter", "B"),
    ("The answer is B - shorter", "B"), ("The answer is B, shorter", "B"),
    ("C\u3002", "C"), ("\u9009C\u3002", "C"), ("C rather than D", "C"), ("C instead of A", "C"),
]  # fmt: skip

NO_OPTION = [
    "A and B", "A cat", "a cat", "I think so", "A, B", "A/B", "A & B", "A or B", "(A) or (B)",
    "(A) and (B)", "A, B, and C", "A. text and B. text", "(A) x; (B) y", "not B", "The answer is not B",
    "B is wrong", "Option B is incorrect", "(B) is incorrect", "the answer is a whale",
    "The answer is A whale", "e.g. a whale", "i.e. none", "a.m.", "U.S. dollars", "AB", "A B",
    "None of the above", "All of the above", "Both A and B", "neither A nor B", "4", "", "A\nB",
    "A. one\nB. two", "vitamin C", "Hepatitis B", "C major", "E coli", "Options A and B",
    "Option A or option B", "Option A or B", "I would not choose B", "P(A)", "f(x)", "x = 5", "x - 5",
    "C++", "C#", "A-frame", "A\u2013Z", "T-shirt", "B cells", "A: B", "option", "answer", "The answer is",
    "I am not sure", "I'm not sure", "A is a letter", "B is a whale", "A whale is no fish", "A. B. C.",
    "The answer is B and C", "The answer is B or C", "B; C", "B and (C)", "b and c", "a, b",
    "(a) and (b)", "b or c", "a/b", "A = 5", "rather than C",
]  # fmt: skip


@pytest.mark.parametrize(("answer", "letter"), NAMED)
def test_ways_to_name_an_option(answer: str, letter: str) -> None:
    assert read_letter(answer) == letter


@pytest.mark.parametrize("answer", NO_OPTION)
def test_what_names_no_option_or_several(answer: str) -> None:
    assert read_letter(answer) is None


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("AB", "AB"), ("(AB)", "AB"), ("AB. because", "AB"), ("option AB", "AB"), ("The answer is AC.", "AC"),
        ("as", None), ("A", None), ("ab", None), ("AB and AC", None), ("an answer", None), ("ABC", None),
    ],
)  # fmt: skip
def test_labels_of_two_letters(answer: str, label: str | None) -> None:
    assert read_letter(answer, 2) == label


def test_a_long_answer_is_read_at_its_beginning_and_its_end() -> None:
    why = "the days become shorter. " * 1000
    assert read_letter(f"B. {why}") == "B"
    assert read_letter(f"{why}\n\nSo the answer is (C).") == "C"


@given(st.text(max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    read_letter(text)
