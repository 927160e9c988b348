"""Ids of problems from the ids of rows: readable, distinct, and short enough to name files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

# Of UTF-8: a file's name has room for more than the id.
_MOST_BYTES = 150


def readable_ids(own: Sequence[str]) -> list[str]:
    """Return an id for each of the rows' ids, which are distinct.

    Letters and digits of every script, dots and hyphens stay; a run of anything else becomes one hyphen. Ids
    that are then too long, or equal to another, end with a digest of the row's id.
    """
    plain = [re.sub(r"[^\w.-]+", "-", each) for each in own]
    taken = Counter(plain)
    return [
        _with_digest(short, each) if taken[short] > 1 or len(short.encode()) > _MOST_BYTES else short
        for short, each in zip(plain, own, strict=True)
    ]


def _with_digest(short: str, own: str) -> str:
    digest = hashlib.blake2b(own.encode(), digest_size=8).hexdigest()
    return f"{short.encode()[:_MOST_BYTES].decode(errors='ignore')}-{digest}"


def first_twice(values: Sequence[str]) -> tuple[int, int] | None:
    """Return the places of the first two values that are equal; None where all differ."""
    seen: dict[str, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            return seen[value], index
        seen[value] = index
    return None
