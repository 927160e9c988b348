"""How alike two texts are, in [0, 1]: by their words, or by their characters. Both are symmetric."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

TextUtility = Literal["f1", "chrf"]
_WORD = re.compile(r"\w+")
_MOST_CHARACTERS = 6
Profile = Sequence[Counter[str]]


def similarities(texts: Sequence[str], others: Sequence[str], utility: TextUtility) -> list[list[float]]:
    """Return the similarity of each text to each of ``others``: 1 for equal texts, 0 without a common part.

    ``f1`` is the F1 of their words, in any order and case. ``chrf`` is the F1 of their sequences of 1 to 6
    characters without white space, precision and recall averaged over the lengths that both have (Popovic,
    "chrF: character n-gram F-score for automatic MT evaluation", 2015; with beta = 1, so that it is
    symmetric).
    """
    profile_of = _PROFILES[utility]
    columns = [(text, profile_of(text)) for text in others]
    rows = [(text, profile_of(text)) for text in texts]
    return [[1.0 if a == b else _f1(p, q) for b, q in columns] for a, p in rows]


def _words(text: str) -> Profile:
    return [Counter(_WORD.findall(text.lower()))]


def _characters(text: str) -> Profile:
    bare = "".join(text.split())
    lengths = range(1, min(_MOST_CHARACTERS, len(bare)) + 1)
    return [Counter(bare[i : i + n] for i in range(len(bare) - n + 1)) for n in lengths]


_PROFILES: dict[TextUtility, Callable[[str], Profile]] = {"f1": _words, "chrf": _characters}


def _f1(a: Profile, b: Profile) -> float:
    """Return the F1 of the mean precision and recall over the counts that both profiles have."""
    pairs = [(p, q) for p, q in zip(a, b, strict=False) if p and q]
    if not pairs:
        return 0.0
    common = [sum((p & q).values()) for p, q in pairs]
    precision = sum(c / p.total() for c, (p, _) in zip(common, pairs, strict=True)) / len(pairs)
    recall = sum(c / q.total() for c, (_, q) in zip(common, pairs, strict=True)) / len(pairs)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
