"""Seeds and keys from names: stable across processes, machines and releases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np


def derive_seed(*names: object) -> int:
    """Return an integer in [0, 2**63) that depends on the names and their order alone."""
    return _seed_of("\x1f".join(str(name) for name in names))


def derive_seeds(names: Sequence[object], rows: Iterable[int]) -> list[int]:
    """Return ``derive_seed(*names, row)`` for each row: the seeds of one call."""
    first = "".join(f"{name}\x1f" for name in names)
    return [_seed_of(f"{first}{row}") for row in rows]


def _seed_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_rng(*names: object) -> np.random.Generator:
    """Return a separate counter-based generator for the named use."""
    return np.random.Generator(np.random.Philox(key=derive_seed(*names)))
