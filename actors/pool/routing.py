"""Which replica a call goes to: pure decisions, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from actors.batching.splitmix import Bits, mix


@lru_cache(maxsize=8192)
def ranking(home: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the replicas in a problem's order of preference, by rendezvous (highest random weight) hashing.

    When a replica joins or leaves, only the problems that it gains or had change their home. (Thaler and
    Ravishankar, 1998, https://doi.org/10.1109/90.663936)
    """
    order = np.argsort(mix(_keys(names) ^ _key(home)))
    return tuple([names[i] for i in order.tolist()])


@lru_cache(maxsize=64)
def _keys(names: tuple[str, ...]) -> Bits:
    return np.array([_key(name) for name in names], dtype=np.uint64)


def _key(name: str) -> np.uint64:
    """Return 64 bits that are the same in every process."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big"))


def route(
    home: str, loads: Mapping[str, int], num_rows: int, *, spill_margin: int, max_in_flight: int
) -> str | None:
    """Return the replica for ``num_rows`` siblings of one problem, or None where they must wait.

    ``loads`` has the rows in flight of each living replica. The first of the ranking is the home;
    siblings stay there, so that their prefix is in one cache, unless it is full or has over
    ``spill_margin`` rows more than the least loaded: then all of them go to that one (of equally loaded
    ones the one ranked first, so that a problem always spills the same way). A replica takes up to
    ``max_in_flight`` rows, and a larger call when it is idle.
    """
    most = max_in_flight - num_rows  # rows that a replica may already have; an idle one takes any call
    least = min(loads.values(), default=None)
    if least is None or least > max(0, most):
        return None
    order = ranking(home, tuple(loads))
    if loads[order[0]] <= max(0, most) and loads[order[0]] - least <= spill_margin:
        return order[0]
    return next(name for name in order if loads[name] == least)
