"""Which replica a call goes to: pure decisions, the same on every machine."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import lru_cache


@lru_cache(maxsize=8192)
def ranking(home: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The replicas in the order in which a problem prefers them: rendezvous (highest random weight) hashing.

    When a replica joins or leaves, only the problems that it wins or owned change their home. (Thaler and
    Ravishankar, 1998, https://doi.org/10.1109/90.663936)
    """
    return tuple(sorted(names, key=lambda name: _weight(home, name), reverse=True))


def _weight(home: str, name: str) -> bytes:
    return hashlib.blake2b(f"{name}\x1f{home}".encode(), digest_size=8).digest()


def route(
    home: str, loads: Mapping[str, int], num_rows: int, *, spill_margin: int, max_in_flight: int
) -> str | None:
    """The replica for ``num_rows`` siblings of one problem, or None where they must wait.

    ``loads`` has the rows in flight of each replica that lives. The first of the ranking is the home;
    siblings stay there, so that their prefix is in one cache, unless it is full or has over
    ``spill_margin`` rows more than the least loaded: then all of them go to that one (of equally loaded
    ones the one ranked first, so that a problem always spills the same way). A replica takes up to
    ``max_in_flight`` rows, and a larger call when it is idle.
    """
    roomy = {n: load for n, load in loads.items() if load == 0 or load + num_rows <= max_in_flight}
    if not roomy:
        return None
    order = ranking(home, tuple(loads))
    least = min(roomy.values())
    if roomy.get(order[0], math.inf) - least <= spill_margin:
        return order[0]
    return next(name for name in order if roomy.get(name) == least)
