"""Which of the replicas that share a card may load at the same time.

vLLM 0.32 sizes its cache by what is free on the whole card before and after it loads
(``MemoryProfilingResult.total_consumed``): what another replica takes meanwhile would count as its own. A
cache whose size is given in bytes (``kv_cache_memory_bytes``) needs no measuring: such replicas load side by
side.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.stages import resumed, waiting


@contextmanager
def turn(lock: Path, *, measures: bool) -> Iterator[None]:
    """Wait for a turn to load on the card whose file is ``lock``, and hold it.

    One that ``measures`` loads alone; others load side by side, and wait only for those that measure. The
    kernel ends the turn of a process that dies.
    """
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    how = fcntl.LOCK_EX if measures else fcntl.LOCK_SH
    try:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting("for its turn on a shared card")
            fcntl.flock(file, how)
            resumed()
        yield
    finally:
        os.close(file)
