"""Where a solution states its answer, and whether a step states one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from orchestrator.stated.boxes import find_box, shown_in
from orchestrator.stated.hashes import find_hashes
from orchestrator.stated.placeholders import could_answer, is_placeholder, plain

AnswerPlace = Literal["box", "tag", "hashes"]

_TAG = re.compile(r"<\s{0,9}(/?)\s{0,9}answer\b[^<>]{0,200}>", re.IGNORECASE)
_THOUGHT_END = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)


def find_answer(text: str, forms: Sequence[AnswerPlace], prompts: tuple[str, ...] = ()) -> str | None:
    r"""Return what the last statement of an answer in ``text`` states; None where there is none.

    The first of ``forms`` that states something decides: ``box`` is ``\boxed{...}``, ``tag`` is
    ``<answer>...</answer>``, ``hashes`` is ``#### ...``. What is empty, holds dots or "your answer", or
    repeats a placeholder of ``prompts`` (the policy's instructions) states nothing, and hides no answer.
    Where a thought has ended (``</think>``), what follows is read first. The time is linear in the text's
    length.
    """
    shown = _shown(prompts)
    for part in _after_thought(text):
        for form in forms:
            decides, stated = _find(form, part, shown)
            if decides:
                return stated
    return None


def states_answer(step: str, marker: str | None, prompts: tuple[str, ...] = ()) -> bool:
    r"""Return whether a step states the final answer: it holds ``marker``, and not only repeats ``prompts``.

    A marker of a form of answers (``\boxed``, ``</answer>``, hashes) needs an answer there. Another one needs
    a line that no prompt has.
    """
    if not marker or marker not in step:
        return False
    shown = _shown(prompts)
    if "boxed" in marker or "fbox" in marker:
        return find_box(step, shown)[1] is not None
    if "<answer" in (lowered := marker.lower()) or "answer>" in lowered:
        # A delimiter may have cut the tag: its beginning is then in a step before.
        return find_tag(step, shown)[0] or (marker.startswith("</") and not _has_opening(step))
    if marker.strip() == "####":
        return find_hashes(step, shown, is_whole=False)[0]
    lines = [line.strip() for line in step.split("\n") if marker.strip() in line]
    if set(marker) == {"#"}:
        return any(line.rpartition(marker)[2].strip() for line in lines)
    return not lines or not all(_repeats(line, marker, prompts) for line in lines)


def states_whole_answer(text: str, marker: str | None, prompts: tuple[str, ...] = ()) -> bool:
    r"""Return whether a text that goes on states a final answer to which nothing can be added.

    ``#### 12`` may go on with another digit: it counts once its line has ended, ``\boxed{12}`` at once.
    """
    if not marker or marker not in text:
        return False
    if "boxed" in marker or "fbox" in marker:
        found = find_box(text, _shown(prompts))[1]
        return found is not None and find_box(f"{text}0", _shown(prompts))[1] == found
    if "answer>" in marker.lower() or "<answer" in marker.lower():
        return states_answer(text, marker, prompts)
    return states_answer(text[: text.rfind("\n") + 1], marker, prompts)


def find_tag(text: str, shown: frozenset[str]) -> tuple[bool, str | None]:
    """Return whether a text states an answer in ``<answer>`` tags, and which: the last closed one counts."""
    for content in reversed(_tagged(text)):
        decides, boxed = find_box(content, shown)
        if decides:
            return True, boxed
        if not is_placeholder(content, shown):
            return True, content.strip(" \t\r\n`")
    return False, None


def _find(form: AnswerPlace, text: str, shown: frozenset[str]) -> tuple[bool, str | None]:
    match form:
        case "box":
            return find_box(text, shown)
        case "tag":
            return find_tag(text, shown)
        case "hashes":
            return find_hashes(text, shown)


def _tagged(text: str) -> list[str]:
    """Return what is between tags; of several beginnings before an end the last one counts."""
    contents, begun = [], None
    for tag in _TAG.finditer(text):
        if not tag.group(1):
            begun = tag.end()
        elif begun is not None:
            contents.append(text[begun : tag.start()])
            begun = None
    return contents


def _has_opening(text: str) -> bool:
    return any(not tag.group(1) for tag in _TAG.finditer(text))


def _after_thought(text: str) -> tuple[str, ...]:
    """Return what follows the last thought, if there is one, and the whole text."""
    end = max((match.end() for match in _THOUGHT_END.finditer(text)), default=0)
    return (text[end:], text) if end else (text,)


def _repeats(line: str, marker: str, prompts: tuple[str, ...]) -> bool:
    """Return whether a line is in one of the prompts, and is not an example of an answer."""
    if len(line) <= len(marker) or could_answer(line.partition(marker)[2]):
        return False
    return any(line in prompt for prompt in prompts)


@lru_cache(maxsize=256)
def _shown(prompts: tuple[str, ...]) -> frozenset[str]:
    """Return what the prompts write in place of an answer, without examples of answers."""
    found = [content for prompt in prompts for content in (*shown_in(prompt), *_tagged(prompt))]
    return frozenset(plain(content) for content in found if not could_answer(content))
