"""An answer as a text without what only concerns its looks."""

from __future__ import annotations

import re

from orchestrator.tasks.grading.unicode import latex_of

# Longer answers are compared as texts.
MAX_LENGTH = 10_000
# What LaTeX makes of one with other characters; nothing that is readable is longer.
MAX_LATEX = 30_000

_SPACES = re.compile(r"\s+")
# Row breaks come first, or their second backslash would be taken for a space command. Every repetition has a
# bound: a pattern that starts anywhere and runs to the end is quadratic.
_LOOKS = re.compile(
    r"(?P<row>\\\\(?:\s?\[[\d.]{1,8}\s?(?:pt|ex|em|cm|mm)\])?)"
    r"|(?P<dollar>\\?[$%€£¥₹¢₽₩]|\\(?:pounds|euro|yen|cents?|textdollar|texteuro|textsterling)(?![A-Za-z]))"
    r"|(?P<between>(?<=\d)(?:\\[,;:> ]|~|,\s?\\!\s?)(?=\d{3}(?!\d))|\{,\})"
    r"|(?P<nothing>\\!|\\(?:left|right|middle)\.|\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])"
    r"|\\(?:display|text|script)style(?![A-Za-z])|\\(?:no)?limits(?![A-Za-z])"
    r"|\\(?:bf|rm|it|sf|tt|em|large|Large|LARGE|huge|Huge|small|normalsize|bfseries|itshape)(?![A-Za-z])"
    r"|\\fcolorbox\s?\{[^{}]{0,40}\}\s?\{[^{}]{0,40}\}|(?<![A-Za-z])(?:math|np|numpy|sympy)\.(?=[a-z])"
    r"|\\(?:text)?color(?:box)?\s?(?:\[[^\[\]]{0,20}\])?\s?\{[^{}]{0,40}\})"
    r"|(?P<space>\\[,;:> \n\t]|\\(?:q?quad|enspace|thinspace|space|hfill|newline)(?![A-Za-z])|~"
    r"|\\[hv]space\*?\s?\{[^{}]{0,20}\}|\\(?:phantom|label|tag)\s?\{[^{}]{0,40}\})"
    r"|\\(?:num|SI|qty)\s?\{(?P<quantity>[^{}]{1,40})\}(?:\s?\{[^{}]{0,40}\})?"
    r"|(?P<colon>\{:\})"
    r"|(?P<fraction>\\[dtc]frac(?![A-Za-z]))"
    r"|(?P<degree>\^\s?(?:\\circ(?![A-Za-z])|\{\s?\\circ\s?\})|\\degrees?(?![A-Za-z]))"
    r"|(?P<dots>\.\.\.+|\\[lc]?dots(?![A-Za-z]))"
)
_REPLACED = {"row": r"\\", "space": " ", "fraction": r"\frac", "degree": r"\degree ", "dots": r"\ldots ",
             "colon": ":"}  # fmt: skip
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("__", "__"),
             ("`", "`"), ("*", "*"), ("_", "_"), ('"', '"'), ("'", "'"))  # fmt: skip
_BOXES = (r"\boxed", r"\fbox", r"\framebox", r"\mbox", r"\text", r"\textbf", r"\mathbf", r"\ensuremath", "")


def tidy(answer: str) -> str:
    """Return the answer without wrapping, spacing, currency, percent signs and sizes, in LaTeX.

    One that is longer than ``MAX_LENGTH`` only loses its spaces.
    """
    text = answer.strip()
    if len(text) > MAX_LENGTH:
        return "".join(text.split()).rstrip(".,")
    text = _unwrapped(latex_of(text))[:MAX_LATEX]
    text = _SPACES.sub(" ", _LOOKS.sub(_looks, text))
    return _unwrapped(text).rstrip(".,;:\\ ").strip()


def closing(text: str, start: int, limit: int = MAX_LENGTH) -> int | None:
    """Return where the brace that opens at ``start`` closes; None beyond ``limit`` characters."""
    depth, index, end = 0, start, min(len(text), start + limit)
    while index < end:
        character = text[index]
        if character == "\\":
            index += 1  # an escaped brace is an ordinary character
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return index
        index += 1
    return None


def _looks(match: re.Match[str]) -> str:
    return match["quantity"] or _REPLACED.get(match.lastgroup or "", "")


def _unwrapped(text: str) -> str:
    """Return what is inside dollars, stars and boxes around the whole text; at most a few of them."""
    for _ in range(6):
        text = text.strip()
        inner = _inside_marks(text) or _inside_box(text)
        if inner is None:
            break
        text = inner
    return text


def _inside_marks(text: str) -> str | None:
    bare = text.rstrip(".")
    for left, right in _WRAPPERS:
        if len(bare) > len(left + right) and bare.startswith(left) and bare.endswith(right):
            inner = bare[len(left) : -len(right)]
            return None if left in inner or right in inner else inner
    return None


def _inside_box(text: str) -> str | None:
    start = text.find("{")
    if start < 0 or not text.endswith("}") or text[:start].rstrip() not in _BOXES:
        return None
    is_words = text[:start].startswith((r"\text", r"\mbox", r"\mathbf"))
    inner = text[start + 1 : -1]
    if closing(text, start) != len(text) - 1 or (is_words and not any(c.isdigit() for c in inner)):
        return None
    return inner
