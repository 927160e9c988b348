"""Seeds and keys from names: stable across processes, machines and releases."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*names: object) -> int:
    """An integer in [0, 2**63) that depends on the names and their order alone."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def derive_rng(*names: object) -> np.random.Generator:
    """A counter-based generator of its own for the named use."""
    return np.random.Generator(np.random.Philox(key=derive_seed(*names)))
