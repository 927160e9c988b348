"""What drawn tasks share: integers drawn from a name, and the buckets that splits are made of."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "dev", "test"]

_NUM_BUCKETS = 20


class Draws:
    """Integers drawn from the digest of a name: the same on every machine and in every release.

    A digest holds 512 bits: enough for about sixty draws below 100.
    """

    def __init__(self, name: str) -> None:
        self._state = int.from_bytes(hashlib.blake2b(name.encode()).digest(), "big")

    def below(self, n: int) -> int:
        self._state, value = divmod(self._state, n)
        return value


def bucket(question: str) -> int:
    """Return the bucket of a problem, 0..19, by its question alone: splits of buckets share no problem."""
    digest = hashlib.blake2b(question.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % _NUM_BUCKETS
