r"""Answers in boxes: ``\boxed{5}``, ``\boxed 5``, ``\fbox{5}``, several of them, nested ones.

A text is read once from beginning to end, and the boxes from the last to the first, each a bounded number of
times: reading what a model writes must take at most linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.stated.placeholders import is_placeholder

# A run of backslashes is one token: an even one before `boxed` is JSON's or Python's way to write it.
_TOKEN = re.compile(r"(\\+)(?:((?:boxed|fbox|framebox)(?![a-zA-Z]))|([{}]))?|([{}])")
_OPENING = re.compile(r"\s*(?:\[[^\[\]{}\n]{0,40}\]\s*){0,2}\{")

# What may be between the boxes of one list: `$\boxed{3}$ and $x = \boxed{5}$`.
_JOINED = re.compile(
    r"\s?[$*]{0,3}(?:\\[)\]])?\s?"
    r"(?:[,;]|,? ?(?:and|or|&|\\(?:text|mbox|quad|qquad)\s?(?:\{ ?,? ?(?:and|or)? ?\})?)){1,3}"
    r"\s?[$*]{0,3}(?:\\[(\[])?\s?(?:[A-Za-z](?:_\{?\w\}?)?\s?=\s?)?"
)
_LONGEST_JOIN = 40
_SHORT = 200

# Without braces: up to the end of the formula or of the line, or else a number or a capital letter.
_REST = re.compile(r"[ \t]*((?:[^\n$\\]|\\(?![)\]]|boxed|fbox|framebox)){0,300})")
_FORMULA = re.compile(r"[ \t]*\$([^$\s][^$\n]{0,200}|[^$\s])\$")
_NUMBER = r"[-+\u2212]?\\?[$\u00a3\u20ac]?\d+(?:,\d{3})*(?:\.\d+)?%?"
_FIRST = re.compile(rf"[ \t:=]*({_NUMBER}|[A-Z](?=[ \t]*(?:[.,;:)]|$)))", re.MULTILINE)
_COMMAND = re.compile(r"\\[a-zA-Z]+(?:\s?\{[^{}]*\})?")
_SHORT_WORDS = "an|as|at|be|by|if|in|is|it|no|of|on|or|so|to|we"
_PROSE = re.compile(rf"[^\W\d_]{{3,}}|(?<![^\W\d_])(?:{_SHORT_WORDS})(?![^\W\d_])")
_SAYS = re.compile(r"\w|\\[a-zA-Z]|\\\{|[<>=]")


@dataclass(slots=True)
class _Box:
    """The places where a box, its content and its end begin; ``end`` None: it is never closed."""

    start: int
    inside: int
    end: int | None = None
    content: str = ""
    is_escaped: bool = False


def find_box(text: str, shown: frozenset[str]) -> tuple[bool, str | None]:
    r"""Return whether the boxes of a text decide what it answers, and what they state.

    The last box that states something counts, and those that are joined to it by ``and``, ``or`` or a comma.
    A later one that is not closed is an answer that was begun: it decides, and states nothing.
    """
    boxes = _boxes(text := _with_braces(text)) if "box" in text else []
    for index in range(len(boxes) - 1, -1, -1):
        box = boxes[index]
        if box.end is None:
            return True, None
        follower = boxes[index + 1].start if index + 1 < len(boxes) else len(text)
        if _states(text, box, shown, holds_boxes=follower < box.end):
            return True, ", ".join(_listed(text, boxes[: index + 1], shown))
    return False, None


def shown_in(text: str) -> list[str]:
    """Return what every box of a text holds."""
    boxes = _boxes(text := _with_braces(text)) if "box" in text else []
    return [_content(text, box) for box in boxes if box.end is not None]


def is_prose(text: str) -> bool:
    """Return whether a text has words outside formulas."""
    return _PROSE.search(_COMMAND.sub(" ", text)) is not None


def says_something(text: str) -> bool:
    """Return whether a text has a letter, a digit or a command."""
    return _SAYS.search(text) is not None


def _with_braces(text: str) -> str:
    """Replace the full-width braces of Chinese and Japanese keyboards by ASCII braces."""
    return text.replace("\uff5b", "{").replace("\uff5d", "}")


def _boxes(text: str) -> list[_Box]:
    """Return every box, in the order in which they begin."""
    boxes: list[_Box] = []
    opening: dict[int, _Box] = {}
    opened: list[_Box | None] = []
    for token in _TOKEN.finditer(text):
        slashes, name, escaped, brace = token.groups()
        if name:
            boxes.append(box := _Box(token.start(), token.end(), is_escaped=len(slashes) % 2 == 0))
            if braces := _OPENING.match(text, token.end()):
                box.inside = braces.end()
                opening[box.inside - 1] = box
            else:
                _take_unbraced(text, box)
        elif escaped and len(slashes) % 2:
            continue  # an escaped brace is an ordinary character
        elif (brace or escaped) == "{":
            opened.append(opening.get(token.end() - 1))
        elif brace or escaped:
            closed = opened.pop() if opened else None
            if closed is not None:
                closed.end = token.end() - 1
    return boxes


def _take_unbraced(text: str, box: _Box) -> None:
    r"""Read ``\boxed 5``, ``\boxed\frac{1}{2}$``; empty where only words follow, as in a sentence."""
    box.end = box.inside
    found = _FORMULA.match(text, box.inside) or _REST.match(text, box.inside)
    content = _trimmed(found)
    if is_prose(content) or not says_something(content) or len(content) > _SHORT:
        found = _FIRST.match(text, box.inside)
        content = _trimmed(found)
    if found and content:
        box.content, box.end = content, found.start(1) + found.group(1).index(content) + len(content)


def _trimmed(found: re.Match[str] | None) -> str:
    return found.group(1).strip(" \t.,;:=`\"'") if found else ""


def _states(text: str, box: _Box, shown: frozenset[str], *, holds_boxes: bool) -> bool:
    if box.content:
        return True
    assert box.end is not None
    # Boxes in boxes are read repeatedly: at most this far.
    if holds_boxes and box.end - box.inside > _SHORT:
        return True
    return not is_placeholder(text[box.inside : box.end], shown)


def _listed(text: str, boxes: list[_Box], shown: frozenset[str]) -> list[str]:
    """Return the contents of the last box and of those before it that are joined to it, each once."""
    return list(dict.fromkeys(reversed([*_joined(text, boxes, shown)])))


def _joined(text: str, boxes: list[_Box], shown: frozenset[str]) -> Iterator[str]:
    """Yield contents from the last box back to the first that is joined to it."""
    following: _Box | None = None
    for box in reversed(boxes):
        if following is not None:
            if box.end is None or not box.end < following.start <= box.end + _LONGEST_JOIN:
                return
            between = text[box.end : following.start].removeprefix("}")
            is_joined = _JOINED.fullmatch(re.sub(r"\s+", " ", between))
            if not (is_joined and _states(text, box, shown, holds_boxes=False)):
                return
        yield _content(text, box)
        following = box


def _content(text: str, box: _Box) -> str:
    content = box.content or text[box.inside : box.end].strip()
    if box.is_escaped:
        content = content.replace("\\\\", "\\")
    return _unwrapped(re.sub(r"\\boxed\s?\{[\s.]{0,20}\}", "", content).strip())


def _unwrapped(content: str) -> str:
    """Remove braces around all of a content: ``{5}`` is 5."""
    braced = re.fullmatch(r"\{+([^{}]*)\}+", content)
    return braced.group(1).strip() if braced else content
