"""Texts on which patterns with nested or adjacent repetitions take quadratic time."""

from __future__ import annotations

PIECES = (
    "\\boxed{", "\\boxed{}", "\\boxed{5}", "\\boxed{5} and ", "\\boxed ", "\\boxed$", "\\boxed[",
    "\\boxed\\text{", "\\boxed{\\text{", "\\", "\\\\ ", "{", "}", "{}", "\\{", "<answer>", "<answer",
    "<answer></answer>", "< ", " ", "\n", "#", "####", "#### ", "####\n", "#### 1\n", "#### \n\n",
    "#### Step\n", "#7\n", "1+1=2 1,2\n", "...", "_", "'", "`", "- ", "(", "((A", "A ", "A, ", "A and ",
    "(A) and ", "; (A", "option ", "option A. ", "not ", "is ", "the answer is ", "answer", "A\n",
    "B. text\n", "</think>", "\\textcolor{", "$", "~", ",", "7", "7,", "1/", "\\frac{", "most ", "\\ldots",
    "\\hspace{", "\u9009", "\u2014", "\u00bd",
)  # fmt: skip
"""What is repeated; each alone and inside the forms of an answer."""

FRAMES = ("{}", "\\boxed{{{}}}", "<answer>{}</answer>", "#### {}", "A. {}\n(B)", "<{}>")


def hostile_text(piece: str, frame: str, length: int) -> str:
    """``piece`` again and again, ``length`` characters of it in ``frame``."""
    return frame.format((piece * (length // len(piece) + 1))[:length])
