"""Server-sent events, as bytes."""

from __future__ import annotations

import msgspec

KEEP_ALIVE = b": searching\n\n"
DONE = b"data: [DONE]\n\n"


def event(value: object) -> bytes:
    """Return one event of a stream."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
