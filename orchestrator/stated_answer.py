"""Where a solution states its answer."""

from __future__ import annotations

import re
from typing import Literal

Form = Literal["box", "tag", "hashes"]

_BOX = re.compile(r"\\boxed\s*(?=\{)")
_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_HASHES = re.compile(r"####[ \t]*([^\n]*)")


def find_answer(text: str, forms: tuple[Form, ...]) -> str | None:
    r"""What the last statement of an answer in ``text`` states; None where there is none, or it is empty.

    The first of ``forms`` that occurs decides: ``box`` is ``\boxed{...}``, ``tag`` is
    ``<answer>...</answer>``, ``hashes`` is ``#### ...``. A last box that is not closed states nothing.
    """
    for form in forms:
        if form == "box" and (last := last_of(_BOX, text)) is not None:
            return _stated(_braced(text, last.end()))
        if form != "box" and (last := last_of(_TAG if form == "tag" else _HASHES, text)) is not None:
            return _stated(last.group(1))
    return None


def last_of(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match, or None."""
    return max(pattern.finditer(text), key=lambda match: match.start(), default=None)


def _braced(text: str, start: int) -> str | None:
    """The content of the braces that open at ``start``; None where they are never closed."""
    depth, index = 0, start
    while index < len(text):
        character = text[index]
        if character == "\\":
            index += 1  # an escaped brace is a character like others
        elif character in "{}":
            depth += 1 if character == "{" else -1
            if depth == 0:
                return text[start + 1 : index]
        index += 1
    return None


def _stated(content: str | None) -> str | None:
    """None for nothing, and for the dots of an answer format that was copied."""
    stripped = (content or "").strip()
    return stripped if stripped.strip(". ") else None
