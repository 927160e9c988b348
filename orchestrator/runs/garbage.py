"""How often Python's garbage collector runs during a run: less often than by default."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects before the youngest generation is collected, and collections of one generation before one of
# the next. The defaults are 700, 10 and 10. A controller makes that many objects in two calls, nearly all
# freed by their reference counts, and spent a quarter of its time on looking for cycles among them.
_THRESHOLDS = (20_000, 20, 20)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely inside the block, and skip what existed before: modules, models, configurations.

    Cycles are still found, only later: memory stays bounded.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
