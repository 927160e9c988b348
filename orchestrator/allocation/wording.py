"""Features of a text: its tokens, its steps, and how often the phrases of word lists are in it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache

Lists = tuple[tuple[str, ...], ...]
"""Words and phrases, in any case. A list counts at most one phrase from each word of a text on."""

_WORD = re.compile(r"[\w'-]+|\?")
_Phrases = Mapping[str, Sequence[tuple[int, Sequence[str]]]]


def features(text: str, num_tokens: int, num_steps: int, lists: Lists) -> list[float]:
    """Return tokens, steps, and the phrases of each list per 1,000 tokens."""
    per = 1000 / max(1, num_tokens)
    return [num_tokens, num_steps, *(per * count for count in counts(text, lists))]


def counts(text: str, lists: Lists) -> list[int]:
    """Return how many phrases of each list are in the text, as whole words."""
    found, phrases, words = [0] * len(lists), _phrases(lists), _words(text)
    for at, word in enumerate(words):
        seen = {i for i, phrase in phrases.get(word, ()) if words[at : at + len(phrase)] == phrase}
        for i in seen:
            found[i] += 1
    return found


@lru_cache(maxsize=8)
def _phrases(lists: Lists) -> _Phrases:
    """Return the phrases by their first word, each with the number of its list."""
    found: dict[str, list[tuple[int, Sequence[str]]]] = defaultdict(list)
    for i, phrases in enumerate(lists):
        for words in filter(None, map(_words, phrases)):
            found[words[0]].append((i, words))
    return dict(found)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower().replace("\u2019", "'"))
