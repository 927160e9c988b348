"""Answers after four hashes, as in GSM8K; headings of the fourth level begin like them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestrator.stated.boxes import is_prose, says_something
from orchestrator.stated.placeholders import is_placeholder

_HASHES = re.compile(r"(?<!#)####(?!#)([^\n]*)")
_LEAD = re.compile(r"(?:the )?(?:final )?(?:answer|result|ans)\b ?(?:is\b)?[ :=]{0,3}", re.IGNORECASE)
_HEADING = re.compile(
    r"(?:step|part|case|section|phase|method|question|problem|stage|example|note|task|approach)\b"
    r"|\d+ ?[.):\-\u2013\u2014]+ +[^\W\d_]{2}",
    re.IGNORECASE,
)
# Ends of a text that a server has left in it.
_SPECIAL = re.compile(r"</s>|<\|[a-zA-Z_]{1,30}\|>|<(?:eos|end_of_turn)>")
# Around an answer, and before the hashes at the beginning of its line: emphasis, quotations, lists.
_EMPHASIS = " \t\r*_`"
_MARKUP = _EMPHASIS + ">-"


@dataclass(frozen=True, slots=True)
class _Line:
    content: str
    begins: bool
    is_last: bool


def find_hashes(text: str, shown: frozenset[str], *, is_whole: bool = True) -> tuple[bool, str | None]:
    """Return whether a text states an answer after ``####``, and which: the last one counts.

    A number, a letter or a formula that is alone after the hashes is an answer in any line. With words
    (``12 eggs a day``) it is one only in the last line of a whole text: elsewhere it may be a heading.
    ``Step 3: ...`` and ``3. Compute`` are never one.
    """
    lines = _lines(text)
    contents = [line.content for line in lines if line.begins]
    are_numbered = len(contents) > 1 and contents == [str(i) for i in range(1, len(contents) + 1)]
    for line in reversed(lines):
        if are_numbered and not line.is_last:
            continue
        if _answers(line, is_whole=is_whole) and not is_placeholder(line.content, shown):
            return True, line.content
    return False, None


def _lines(text: str) -> list[_Line]:
    end = len(text.rstrip(_MARKUP + "\n#$"))
    lines = []
    for match in _HASHES.finditer(text):
        content, stop = match.group(1), match.end()
        if not _tidy(content).strip(_MARKUP + ":") and end - stop <= 200:
            # The answer is alone in the next line, and nothing follows.
            content, stop = text[stop:end].strip(), max(stop, end)
            content = "" if "\n" in content or is_prose(content) else content
        before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        lines.append(_Line(_tidy(content), not before.strip(_MARKUP), stop >= end))
    return lines


def _tidy(content: str) -> str:
    """Return the last statement of a line, without emphasis, closing hashes, a lead-in and a full stop."""
    content = _SPECIAL.sub("", content)
    content = content.strip(_EMPHASIS + "#").rpartition("####")[2].lstrip(_EMPHASIS + ":")
    if lead := _LEAD.match(content):
        content = content[lead.end() :].strip(_EMPHASIS)
    return content.strip() if content.endswith("..") else content.rstrip(". ").strip()


def _answers(line: _Line, *, is_whole: bool) -> bool:
    if not says_something(line.content):
        return False
    if not is_prose(line.content):
        return True
    is_heading = _HEADING.match(line.content) or line.content.endswith(":")
    return is_whole and line.begins and line.is_last and not is_heading
