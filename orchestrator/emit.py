"""Events of a run: ``events`` writes them where that is switched on (docs/observability.md)."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def emit(event: str, text: str, /, *args: object, level: int = logging.INFO, **fields: object) -> None:
    """Log an event: its name, the line that a person reads (``text % args``), and its fields.

    Example: ``emit("replica_ready", "%s is ready", "engine-0", replica="engine-0")``. Without a handler it
    costs a comparison.
    """
    log.log(level, text, *args, extra={"event": event, **fields}, stacklevel=2)
