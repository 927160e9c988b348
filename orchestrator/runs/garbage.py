"""How often Python looks for cycles while a run goes on: less often than it would by itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects before the youngest are looked through, and collections of one generation before one of the
# next. By default 700, 10 and 10: a controller makes that many in two calls, nearly all of them values that
# go when their last user does, and spent a quarter of its time on looking for cycles among them.
_THRESHOLDS = (20_000, 20, 20)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collects rarely inside, and passes over what was there before: modules, models, configurations.

    Cycles are found all the same, only later: memory stays bounded.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
