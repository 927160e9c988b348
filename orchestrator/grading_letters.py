"""The letter of a multiple-choice question that an answer names."""

from __future__ import annotations

import re

_STYLED = r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|rm)\s*\{([^{}]*)\}"
_LETTER = re.compile(r"^[(\[]?\s*([A-Za-z])\s*[)\]]?[.:,]?$")
_LETTER_FIRST = re.compile(r"^(?:\(([A-Z])\)|([A-Z])[).:])\s*\S")
_LETTER_NAMED = re.compile(
    r"^(?:the )?(?:option|choice|answer)(?: is)?:?\s*\(?([A-Za-z])\)?\.?$", re.IGNORECASE
)


def read_letter(answer: str) -> str | None:
    """The capital letter of a choice: ``B``, ``(b)``, ``B. because ...``, ``option B``; else None."""
    text = re.sub(_STYLED, r"\1", answer.replace("$", "").replace("*", "")).strip()
    for pattern in (_LETTER, _LETTER_FIRST, _LETTER_NAMED):
        if match := pattern.match(text):
            return next(g for g in match.groups() if g).upper()
    return None
