"""The labels of a question's options: A to Z, then AA, AB, ... as the columns of a spreadsheet."""

from __future__ import annotations

import re
import string

LETTERS = string.ascii_uppercase
MOST_OPTIONS = len(LETTERS) * (1 + len(LETTERS))
"""As many as one letter or two can label."""

_STYLED = re.compile(r"\\[a-z]+\s*\{([^{}]*)\}")
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"^[(\[]?\s*([A-Z]{2})\s*[)\]]?[.:,]?$",
        r"^(?:\(([A-Z]{2})\)|([A-Z]{2})[).:])\s*\S",
        r"^(?i:(?:the )?(?:option|choice|answer)(?: is)?:?)\s*\(?([A-Z]{2})\)?\.?$",
    )
)


def label(index: int) -> str:
    """Return the label of the option that has ``index`` options before it: ``A``, ``Z``, ``AA``, ``AB``."""
    above, letter = divmod(index, len(LETTERS))
    return LETTERS[letter] if above == 0 else LETTERS[above - 1] + LETTERS[letter]


def index_of(label: str) -> int:
    """Return the place of a label, from 0."""
    place = 0
    for letter in label:
        place = place * len(LETTERS) + LETTERS.index(letter) + 1
    return place - 1


def read_long_label(stated: str) -> str | None:
    """Return the label of two letters that an answer names, in the forms of a single letter; else None.

    Two letters are capitals: ``AB``, ``(AB)``, ``AB. because ...``, ``option AB``; ``as`` is a word.
    """
    text = _STYLED.sub(r"\1", stated.replace("$", "").replace("*", "")).strip()
    for form in _FORMS:
        if match := form.match(text):
            return next(group for group in match.groups() if group)
    return None
