"""Placeholders, written in place of an answer: nothing, dots, and the words of the instruction."""

from __future__ import annotations

import re

# Commands that only style or space what they hold; `\(` and `\)` begin and end mathematics.
_LOOKS = re.compile(
    r"\\(?:[hv]?phantom|[hv]space\*?|rule)\s?\{[^{}]*\}(?:\{[^{}]*\})?"
    r"|\\(?:text[a-z]*|mbox|hbox|math[a-z]*|bm|boldsymbol|operatorname|underline|emph|displaystyle|rm|bf|it"
    r"|fbox|framebox|boxed|q?quad|[lcd]?dots[bcmio]?|square|Box|blacksquare|checkmark|qed)"
    r"(?![a-zA-Z])|\\[ ,;:!()_~]|\*\*"
)
_NOTHING = re.compile(r"[\s.?_~${}\u2026\u25a0\u25a1\u2713\u2714\uff0c\u3002]+")
_BRACKETS = str.maketrans(dict.fromkeys("<>[](){}\"'`\u2018\u2019\u201c\u201d*$:;,!", " "))
_NAME = re.compile(
    r"answers?|ans|results?|solution|numbers?|letters?|expression|choice|option|value|integer"
    r"|(?:final|your)[_-]answer|\u7b54\u6848|\u6700\u7ec8\u7b54\u6848"
)
_BESIDE = re.compile(
    r"the|your|my|our|this|that|an|final|correct|right|numeric|numerical|single|here|goes?|or|and|of|insert|put"
    r"|place|write|enter|only|just|text|in|is|it|to|box|exact|simplified"
)
# `number of eggs`, `letter of the right option`: a description of what would be there.
_DESCRIBED = re.compile(
    rf"(?:(?:the|your|my|total|final|correct|exact) )*(?:{_NAME.pattern})"
    r" (?:of|to|for|from|that|which) [^\d=]*"
)
_JOINS = frozenset(["and", "or", "to", "and/or"])
_LONGEST = 200


def is_nothing(content: str) -> bool:
    r"""Return whether a text is blank: spaces, dots, question marks, ``\text{...}``, ``\ldots``, ``___``."""
    return not _NOTHING.sub("", _unstyled(content))


def is_placeholder(content: str, shown: frozenset[str] = frozenset()) -> bool:
    """Return whether a text is in place of an answer: nothing, ``your answer``, or a text of ``shown``."""
    if is_nothing(content):
        return True
    if len(content) > _LONGEST:
        return False
    bare = plain(content)
    words = bare.removeprefix("a ").split()
    is_named = any(_NAME.fullmatch(w) for w in words)
    return (
        (is_named and all(_NAME.fullmatch(w) or _BESIDE.fullmatch(w) for w in words))
        or bare in _JOINS
        or _DESCRIBED.fullmatch(bare) is not None
        or bare in shown
    )


def plain(content: str) -> str:
    """Return the words of a short text, in one case, without styles and brackets."""
    words = _unstyled(content[: 2 * _LONGEST]).translate(_BRACKETS).casefold().split()
    return " ".join(words).strip(". ")


def _unstyled(content: str) -> str:
    return _LOOKS.sub(" ", re.sub(r"\\{2,}", r"\\", content))


def could_answer(content: str) -> bool:
    """Return whether a text of an instruction may be an example of an answer: a number or an option's letter.

    The same text in a solution is an answer. Other texts of an instruction are placeholders.
    """
    bare = plain(content)
    return any(c.isdecimal() for c in bare) or (len(bare) == 1 and bare in "abcdefghij")
