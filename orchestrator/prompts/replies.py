"""How the replies of roles are read. A reply that cannot be read is None, and never asked for again.

A role has a declared outcome for that: a ranker keeps the order, a judge does not accept, a score is missing.
The prompts are those of ``conf/prompts``; a reader takes the first reading that fits, except where the prompt
requests it in the last line. The time is linear in the reply's length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_INDEX = re.compile(r"\[\s*(\d{1,6})\s*\]")
_SCORE = re.compile(r"score\s*:\s*([+-]?\d{1,9})(?![\d.,]*\d)", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,9}")
_NO_ERROR = re.compile(r"\bno\s+errors?\b", re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.):])\s+")


def read_order(reply: str, num_items: int) -> tuple[int, ...] | None:
    """Return the order of a listwise ranking such as ``[2] > [1] > [3]``, as indices from 0.

    Doubles and numbers that no item has are dropped, items that are missing follow in their own order
    (Archon, arXiv 2409.15254). None where no item is named.
    """
    named = [int(number) - 1 for number in _INDEX.findall(reply)]
    first = list(dict.fromkeys(i for i in named if 0 <= i < num_items))
    return tuple(dict.fromkeys([*first, *range(num_items)])) if first else None


def read_sections(reply: str, num_items: int) -> tuple[str, ...] | None:
    """Return what a reply says of each item under its number, ``[i]`` at a line's beginning; None if of none.

    An item that it does not mention has the empty text; one that it mentions twice has both.
    """
    sections, found, current = [""] * num_items, False, None
    for line in reply.splitlines(keepends=True):
        begins = _INDEX.match(line.lstrip())
        if begins and 1 <= int(begins[1]) <= num_items:
            current, found = int(begins[1]) - 1, True
            sections[current] += line.lstrip()[begins.end() :].lstrip(" ")
        elif current is not None:
            sections[current] += line
    return tuple(text.strip() for text in sections) if found else None


def read_mark(reply: str, good: str, bad: str) -> bool | None:
    """Return whether ``good`` comes before ``bad``, such as ``[Correct]`` and ``[Incorrect]``; None: neither.

    Upper and lower case are the same.
    """
    lowered = reply.lower()
    places = [(at, mark == good) for mark in (good, bad) if (at := lowered.find(mark.lower())) >= 0]
    return min(places)[1] if places else None


def read_marks(reply: str, num_items: int, good: str, bad: str) -> tuple[bool | None, ...] | None:
    """Return the mark of each item, as ``read_mark`` reads what the reply says under its number.

    Without numbers, marks count by their order if there is one for each item. None: there is no mark.
    """
    sections = read_sections(reply, num_items)
    if sections is None:
        either = re.compile(f"{re.escape(good)}|{re.escape(bad)}", re.IGNORECASE)
        found = either.findall(reply)
        sections = tuple(found) if len(found) == num_items else ()
    marks = tuple(read_mark(section, good, bad) for section in sections)
    return marks if any(mark is not None for mark in marks) else None


def read_score(reply: str, low: int, high: int) -> int | None:
    """Return the whole number of the last ``Score:`` in a reply; None without one in ``low .. high``."""
    found = _SCORE.findall(reply)
    return int(found[-1]) if found and low <= int(found[-1]) <= high else None


def read_choice(reply: str, num_items: int) -> int | None:
    """Return the first number of 1 to ``num_items`` in a reply, as an index from 0; None without one."""
    numbers = (int(number) for number in _NUMBER.findall(reply))
    return next((number - 1 for number in numbers if 1 <= number <= num_items), None)


def read_statements(reply: str, most: int) -> tuple[str, ...] | None:
    """Return at most ``most`` statements: a list of strings in JSON, or else one a line; None without any."""
    listed = _first_json(reply, "[")
    if isinstance(listed, list) and listed and all(isinstance(item, str) for item in listed):
        lines: Sequence[str] = listed
    else:
        lines = [_BULLET.sub("", line) for line in reply.splitlines()]
    statements = tuple(stripped for line in lines if (stripped := line.strip()))
    return statements[:most] or None


def read_shares(reply: str, names: Sequence[str], missing: float = 0.5) -> dict[str, float] | None:
    """Return a number in [0, 1] for each name, from an object in JSON; None where a reply holds no object.

    A name that it does not hold, or whose number is none or outside, has ``missing``.
    """
    found = _first_json(reply, "{")
    if not isinstance(found, dict):
        return None
    return {name: _share(found.get(name), missing) for name in names}


def finds_no_error(critique: str) -> bool:
    """Return whether a critique states that there is no error, as its prompt asks for."""
    return _NO_ERROR.search(critique) is not None


def _share(value: Any, missing: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else missing


def _first_json(reply: str, opening: str) -> Any:
    """Return the first value in JSON that begins with ``opening``; None where none can be read."""
    decoder, tries = json.JSONDecoder(), 0
    at = reply.find(opening)
    while at >= 0 and (tries := tries + 1) <= _MOST_TRIES:
        try:
            return decoder.raw_decode(reply, at)[0]
        except (ValueError, RecursionError):
            at = reply.find(opening, at + 1)
    return None


_MOST_TRIES = 16  # a reply of brackets alone would otherwise take quadratic time
