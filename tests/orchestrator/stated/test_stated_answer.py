"""Where a solution states its answer, and which steps state one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stated.answer import find_answer, states_answer

QWEN = r"Please reason step by step, and put your final answer within \boxed{}."
LLAMA = r"conclude with: Therefore, the final answer is: $\boxed{answer}$. I hope it is correct."
LONG = "7" * 5000

BOXES = [
    # how a box is written
    (r"so \boxed{5}", "5"), (r"$\boxed {7}$", "7"), ("\\boxed\n{5}", "5"), (r"\boxed{ 5 }", "5"),
    ("\\boxed{\n5\n}", "5"), (r"\boxed{{5}}", "5"), (r"\text{\boxed{5}}", "5"), (r"\fbox{5}", "5"),
    (r"\framebox{5}", "5"), (r"\framebox[2cm][c]{5}", "5"), (r"\\boxed{5}", "5"), (r"a \\\boxed{5}", "5"),
    (r"\\boxed{\\frac{1}{2}}", r"\frac{1}{2}"), ("\\boxed\uff5b5\uff5d", "5"), (r"\boxedtext{5}", None),
    # without braces
    (r"\boxed 5", "5"), (r"$\boxed 5$", "5"), (r"\boxed5", "5"), (r"\boxed5.", "5"),
    (r"\boxed 12 eggs", "12"),
    (r"\boxed 1,234 eggs", "1,234"), (r"\boxed -5", "-5"), (r"$\boxed x = 5$", "x = 5"), (r"\boxed B", "B"),
    (r"\boxed(B)", "(B)"), (r"\boxed\frac{1}{2}", r"\frac{1}{2}"), (r"$\boxed\text{B}$", r"\text{B}"),
    (r"\boxed $5$", "5"), (r"\boxed and so on", None), (r"in $\boxed$, so $5$", None),
    (r"in a \boxed.", None),
    # what it holds
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"), (r"\boxed{\{1, 2\}}", r"\{1, 2\}"), (r"\boxed{\{\}}", r"\{\}"),
    (r"\boxed{\left\{ 3 \right.}", r"\left\{ 3 \right."), (r"\boxed{\emptyset}", r"\emptyset"),
    (r"\boxed{50\%}", r"50\%"), (r"\boxed{x^{2}}", "x^{2}"), (r"\boxed{\text{even}}", r"\text{even}"),
    (r"\boxed{\text{no solution}}", r"\text{no solution}"), (r"\boxed{0}", "0"), (r"\boxed{-}", "-"),
    (r"\boxed{(1 \\ 2)}", r"(1 \\ 2)"), (r"\boxed{a}", "a"), (r"\boxed{option A}", "option A"),
    (rf"\boxed{{{LONG}}}", LONG), (rf"\boxed {LONG}", LONG),
    # several
    (r"\boxed{4}, no: \boxed{5}.", "5"), (r"\boxed{3}, then \boxed{5}", "5"),
    ("\\boxed{3}\n\n\\boxed{5}", "5"),
    (r"\boxed{\boxed{5}}", "5"), (r"\boxed{\text{so } \boxed{5}}", "5"), (r"\boxed{5} and \boxed{5}", "5"),
    (r"\boxed{3} and \boxed{5}", "3, 5"), (r"$\boxed{3}$ or $\boxed{5}$", "3, 5"),
    (r"\boxed 3, \boxed 5", "3, 5"),
    (r"$x=\boxed{3}$ and $x_2 = \boxed{5}$", "3, 5"), (r"\boxed{3}, \boxed{5}, and \boxed{7}", "3, 5, 7"),
    (r"\boxed{3} \text{ or } \boxed{5}", "3, 5"), (r"\boxed{3} eggs and \boxed{5}", "5"),
    # what states nothing
    (r"\boxed{}", None), (r"\boxed{ }", None), (r"\boxed{...}", None), (r"\boxed{\text{your answer}}", None),
    (r"\boxed{the final answer here}", None), (r"\boxed{[answer]}", None), (r"\boxed{<your answer>}", None),
    (r"\boxed{5} I put it in \boxed{}", "5"), (r"\boxed{5} \boxed{...}", "5"),
    (r"\boxed{5} \boxed{answer}", "5"),
    (r"\boxed{5} \boxed{\ldots}", "5"), (r"\boxed{5} \boxed{\hspace{2cm}}", "5"),
    (r"\boxed{5} \boxed{?}", "5"),
    (r"\boxed{5} \boxed{\_\_}", "5"), (r"\boxed{5} \boxed{\boxed{}}", "5"), (r"\boxed{5} in \boxed{", None),
    (r"\boxed{5}, as asked in \boxed.", "5"), (r"\boxed{5}, in \boxed{} and in \boxed", "5"),
    (r"\boxed{\text{the number of eggs}}", None), (r"\boxed{5} \boxed{value of $x$}", "5"),
    (r"\boxed{5} \boxed{\checkmark}", "5"), (r"\boxed{the number of eggs is 5}", "the number of eggs is 5"),
    (r"\boxed{4} and then \boxed{5", None), (r"\boxed{5", None), ("the answer is 5", None), ("", None),
    # after a thought
    (r"<think>\boxed{4}</think> so \boxed{6}", "6"), (r"<think>\boxed{4}</think> so be it", "4"),
    (r"<think>\boxed{4}</think> \boxed{6", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), BOXES)
def test_the_last_box_that_states_something_decides(text: str, answer: str | None) -> None:
    assert find_answer(text, ("box",)) == answer


OTHERS = [
    # tags
    ("<answer>\n12\n</answer>", "12"), ("<answer>1</answer> <answer>2</answer>", "2"), ("<answer>3", None),
    ("<answer><answer>5</answer>", "5"), ("<ANSWER>5</ANSWER>", "5"), ("<Answer type='x'>5</Answer>", "5"),
    ("< answer >5</ answer >", "5"), ("<answer>5</answer></answer>", "5"), ("<answers>5</answers>", None),
    ("<answer>`5`</answer>", "5"), ("<answer>\\boxed{3}</answer>", "3"), ("<answer>\\boxed{3</answer>", None),
    ("<answer>so it is \\boxed 3</answer>", "3"), ("<answer>5</answer> in <answer></answer>", "5"),
    ("<answer>5</answer> <answer>...</answer>", "5"),
    ("<answer>5</answer> <answer>your answer</answer>", "5"),
    ("between <answer> and </answer>", None), ("<answer>5</answer>, after <answer>", "5"),
    ("<answer>\\boxed{...}</answer>", None), ("<answer>1</answer>\n#### 2", "1"),
    ("\\boxed{} <answer>3</answer>", "3"),
    ("<reasoning>\\boxed{4}</reasoning><answer>5</answer>", "5"), (f"<answer>{LONG}</answer>", LONG),
    # hashes
    ("so it is 18\n#### 18", "18"), ("####18", "18"), ("#### 18.", "18"), ("#### **18**", "18"),
    ("**#### 18**", "18"), ("####: 18", "18"), ("#### $18", "$18"), ("#### $5$", "$5$"), ("#### -5", "-5"),
    ("#### 1\n#### 1,234\n", "1,234"), ("#### 3.5 ", "3.5"), ("#### 18\r\n", "18"),
    ("####\u00a018", "18"), ("#### 18 ####", "18"),
    ("#### x = 5", "x = 5"), ("#### \\frac{1}{2}", "\\frac{1}{2}"), ("so 18. #### 18", "18"),
    ("> #### 18", "18"),
    ("#### 18\nI hope this helps", "18"), ("#### Answer: 18", "18"), ("#### The answer is 18", "18"),
    ("####\n18", "18"), ("\\boxed{...} #### 3", "3"), (f"#### {LONG}", LONG),
    ("#### 18 - 3 = 15", "18 - 3 = 15"),
    ("#### 18\n####", "18"), ("#### 18\n#### <answer>", "18"), ("####", None), ("#### ...", None),
    ("#### Final Answer\n18", "18"), ("#### Final Answer:\n\n**18**\n", "18"), ("#### 18</s>", "18"),
    ("#### 18 <|endoftext|>", "18"), ("#### 18 eggs<|im_end|>", "18 eggs"),
    # headings of the fourth level
    ("#### Step 1: count\nThere are 9.\n\n#### Step 2: multiply\n\nThat is 18.", None), ("##### 18", None),
    ("#### 1. Count\nThere are 9 eggs.\n\n#### 2. Multiply\n\nThat is 18.", None), ("### 18", None),
    ("#### 12 eggs a day\nThen we", None), ("#### 12 eggs a day", "12 eggs a day"), ("#### Step 2", None),
    ("#### 18\n\n#### Check\n9 * 2", "18"), ("#### 1\nCount.\n#### 2\nMultiply.", None),
    ("#### Case 3:", None),
    ("#### 1\nCount.\n#### 2\nMultiply.\n#### 18", "18"), ("#### 3: Multiply", None),
    ("#### Answer\n18 it is", None),
    ("#### Understanding the problem:", None), ("after #### as asked", None), ("#### 18\n#### Step 3:", "18"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), OTHERS)
def test_other_forms_of_an_answer(text: str, answer: str | None) -> None:
    assert find_answer(text, ("box", "tag", "hashes")) == answer


@pytest.mark.parametrize(
    ("prompt", "text", "answer"),
    [
        (r"Write \boxed{N}, where N is the number.", r"\boxed{7} as \boxed{N}", "7"),
        (r"Write \boxed{\text{color}}.", r"I write \boxed{color}.", None),
        (r"Write \boxed{x}.", r"\boxed{y}", "y"),
        ("<answer>colour</answer>", "<answer>red</answer>, not <answer>Colour</answer>", "red"),
        # An example of an answer is an answer wherever a solution has it.
        (r"Write the letter, as in \boxed{A}.", r"\boxed{B}? No: \boxed{A}", "A"),
        (r"Write a number: \boxed{42}.", r"\boxed{42}", "42"),
    ],
)
def test_a_placeholder_of_the_prompt_is_no_answer(prompt: str, text: str, answer: str | None) -> None:
    assert find_answer(text, ("box", "tag"), (prompt,)) == answer


@pytest.mark.parametrize(
    ("marker", "step", "states"),
    [
        (r"\boxed", "That makes \\boxed{18}.\n\n", True),
        (r"\boxed", "I put the answer in \\boxed{}.\n\n", False),
        (r"\boxed", "I put the answer in $\\boxed{...}$.\n\n", False),
        (r"\boxed", "It will be $\\boxed{answer}$.\n\n", False),
        (r"\boxed", "It will be $\\boxed{\\text{your answer}}$.\n\n", False),
        (r"\boxed", "I use \\boxed for it.\n\n", False),
        (r"\boxed", "It goes into \\boxed{}. It is \\boxed{18}.\n\n", True),
        (r"\boxed", "It is \\boxed{18}, in \\boxed{}.\n\n", True),
        (r"\boxed", "It is \\boxed 18.\n\n", True),
        (r"\boxed", "It is \\boxed{\n\n", False),  # its braces close in a later step
        (r"\boxed{", "It is \\boxed{18}\n\n", True),
        (r"\boxed", "It is 18.\n\n", False),
        ("</answer>", "<answer>18</answer>\n\n", True),
        ("</answer>", "between <answer> and </answer>\n\n", False),
        ("</answer>", "<answer>...</answer>\n\n", False),
        ("</answer>", "</answer>\n\n", True),  # its beginning is in an earlier step
        ("<answer>", "<answer>\n\n", False),
        ("####", "#### 18\n\n", True),
        ("####", "#### 12 eggs a day\n\n", False),  # a heading, as far as a step tells
        ("####", "#### Step 1: count\n\n", False),
        ("#", "#18\n", True),
        ("#", "#\n", False),
        ("=", "=abc\n", True),
        ("Final answer:", "Final answer: 18\n\n", True),
        ("Final answer:", "I end with\nFinal answer: [your choice]\n\n", False),
        ("[END]", "18 [END]\n\n", True),
        (None, "\\boxed{18}", False),
    ],
)
def test_which_steps_state_an_answer(marker: str | None, step: str, states: bool) -> None:
    assert states_answer(step, marker, (QWEN, LLAMA, "End with\nFinal answer: [your choice]")) is states


@pytest.mark.parametrize("prompt", [QWEN, LLAMA])
def test_no_prompt_that_is_repeated_ends_a_solution(prompt: str) -> None:
    assert not states_answer(prompt, r"\boxed", (prompt,))
    assert find_answer(prompt, ("box",), (prompt,)) is None


@given(st.text("ab{}\\", max_size=12), st.text("xyz ", min_size=1).filter(str.strip))
def test_whatever_comes_before_a_box(noise: str, answer: str) -> None:
    assert find_answer(f"{noise} \\boxed{{{answer}}}", ("box",)) == answer.strip()


@given(
    st.lists(
        st.sampled_from(
            [r"\boxed", "{", "}", "5", " ", "$", "\\", "<answer>", "</answer>", "####", "\n", ","]
        )
    )
)
def test_no_text_is_too_odd(parts: list[str]) -> None:
    text = "".join(parts)
    for form in ("box", "tag", "hashes"):
        found = find_answer(text, (form,))  # type: ignore[arg-type]
        assert found is None or found.strip()
    for marker in (r"\boxed", "</answer>", "####", "#", "5"):
        states_answer(text, marker, (text,))
