"""What drawn tasks share: integers drawn from a name, and splits that no problem can be in twice."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "dev", "test"]

# Two buckets of twenty are held out, so that no problem can be in two splits whatever its index.
_NUM_BUCKETS = 20
_BUCKETS: dict[Split, frozenset[int]] = {
    "test": frozenset({0}),
    "dev": frozenset({1}),
    "train": frozenset(range(2, _NUM_BUCKETS)),
}
SPLITS = tuple(_BUCKETS)


class Draws:
    """Integers drawn from the digest of a name: the same on every machine and in every release.

    A digest holds 512 bits: enough for some sixty draws below 100.
    """

    def __init__(self, name: str) -> None:
        self._state = int.from_bytes(hashlib.blake2b(name.encode()).digest(), "big")

    def below(self, n: int) -> int:
        self._state, value = divmod(self._state, n)
        return value


def is_in_split(question: str, split: Split) -> bool:
    """Whether a problem belongs to a split, by the hash of its question alone."""
    digest = hashlib.blake2b(question.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _NUM_BUCKETS in _BUCKETS[split]
