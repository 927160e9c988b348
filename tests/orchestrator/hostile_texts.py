"""Texts of a given length that are hard on patterns, parsers and numbers."""

from __future__ import annotations

from collections.abc import Callable

UNITS = {
    "commas": ",", "open parentheses": "(", "open braces": "{", "closed braces": "}", "open brackets": "[",
    "digits": "9", "zeros": "0", "groups": "1,111", "spaced digits": "1 ", "points": ".", "decimals": "1.1",
    "spaces": " ", "newlines": "\n", "backslashes": "\\", "carets": "^", "carets of 9": "9^", "bars": "|",
    "fractions": "\\frac", "fractions of 1": "\\frac1", "roots": "\\sqrt", "roots of braces": "\\sqrt{",
    "texts": "\\text{", "closed texts": "\\text{a}", "boxes": "\\boxed{", "colours": "\\color[",
    "rows": "\\\\",
    "row gaps": "\\\\[", "matrices": "\\begin{pmatrix}", "dollars": "$", "stars": "*", "tags": "<answer>",
    "hashes": "####", "minus": "-", "plus": "+", "plus or minus": "\\pm", "signs of 1": "\\pm1",
    "letters": "x",
    "words": "word ", "and": " and ", "equals": "=", "chains": "x=", "less": "<", "unions": "\\cup",
    "intervals": "(1,2)\\cup", "units": "5 cm/", "unit words": " cm", "halves of days": "5 a m ",
    "sines": "\\sin ",
    "plain sines": "sin", "factorials": "!", "primes": "'", "subscripts": "_1", "colons": "1:",
    "repeating": "0.3\\overline{3}", "dotted": ".\\dot{3}", "ellipses": "0.33...", "exponents": "e9",
    "powers of ten": "\\times10^9", "million": " million", "half": "½", "superscripts": "²", "radicals": "√",
    "overlines": "3\u0305", "ligatures": "\ufdfa", "other digits": "\u0663", "surrogates": "\ud800",
    "nul": "\0",
    "emoji": "\U0001f600", "absolute": "|x", "degrees": "^\\circ", "percent": "\\%", "left": "\\left(",
    "tilde": "~",
    "semicolons": ";", "sets": "\\{", "angles": "\\langle", "integrals": "\\int ", "quotes": '"',
    "magnitude": "5e9999,",
    "bracketed 1s": "[1],", "named": "x=1,", "in": "\\in ", "options": "(A)", "letters of options": "A. ",
    "hyphens": "\u2212",
}  # fmt: skip


def repeated(unit: str) -> Callable[[int], str]:
    return lambda length: (unit * (length // len(unit) + 1))[:length]


HOSTILE: dict[str, Callable[[int], str]] = {
    **{name: repeated(unit) for name, unit in UNITS.items()},
    "nested": lambda n: "(" * (n // 2) + "1" + ")" * (n // 2),
    "nested braces": lambda n: "{" * (n // 2) + "1" + "}" * (n // 2),
    "nested fractions": lambda n: "\\frac{1}{" * (n // 10) + "2" + "}" * (n // 10),
    "nested texts": lambda n: "\\text{" * (n // 7) + "2" + "}" * (n // 7),
    "nested dollars": lambda n: "$" * (n // 2) + "2" + "$" * (n // 2),
    "nested boxes": lambda n: "\\boxed{" * (n // 8) + "2" + "}" * (n // 8),
    "a list": lambda n: "(" + "," * (n - 2) + "x",
    "a point": lambda n: "(" + "1," * (n // 2) + "1)",
    "a sum": lambda n: "1" + "+x" * (n // 2),
    "a product": lambda n: "x" + "\\cdot x" * (n // 7),
    "a power": lambda n: "x^{" * (n // 4) + "2" + "}" * (n // 4),
    "a long number in words": lambda n: "the answer is " + "7" * n,
    "a long number with a unit": lambda n: "7" * n + " \\text{ cm}",
    "a long fraction": lambda n: "\\frac{" + "7" * (n // 2) + "}{" + "9" * (n // 2) + "}",
    "a spaced end": lambda n: "1" + " " * n + "x",
    "almost a group": lambda n: "1" + ",111" * (n // 4) + ",1",
    "almost a text": lambda n: "\\text{" + "a" * n,
}

PIECES = (
    "\\boxed{", "\\boxed{}", "\\boxed{5}", "\\boxed{5} and ", "\\boxed ", "\\boxed$", "\\boxed[",
    "\\boxed\\text{", "\\boxed{\\text{", "\\", "\\\\ ", "{", "}", "{}", "\\{", "<answer>", "<answer",
    "<answer></answer>", "< ", " ", "\n", "#", "####", "#### ", "####\n", "#### 1\n", "#### \n\n",
    "#### Step\n", "#7\n", "1+1=2 1,2\n", "...", "_", "'", "`", "- ", "(", "((A", "A ", "A, ", "A and ",
    "(A) and ", "; (A", "option ", "option A. ", "not ", "is ", "the answer is ", "answer", "A\n",
    "B. text\n", "</think>", "\\textcolor{", "$", "~", ",", "7", "7,", "1/", "\\frac{", "most ", "\\ldots",
    "\\hspace{", "\u9009", "\u2014", "\u00bd",
)  # fmt: skip
"""Pieces on which patterns with nested or adjacent repetitions take quadratic time; each is repeated alone
and inside the forms of an answer, FRAMES."""

FRAMES = ("{}", "\\boxed{{{}}}", "<answer>{}</answer>", "#### {}", "A. {}\n(B)", "<{}>")


def hostile_text(piece: str, frame: str, length: int) -> str:
    """``piece`` again and again, ``length`` characters of it in ``frame``."""
    return frame.format(repeated(piece)(length))
