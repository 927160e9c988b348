"""What a replica is doing while it makes its engine, for the caller that waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_LOADING = "it has been loading"


@dataclass(eq=False)
class Stage:
    """What is being done, and since when. It is read by another thread."""

    what: str = _LOADING
    since: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"{self.what} for {time.monotonic() - self.since:.0f} s"

    def change(self, what: str) -> None:
        self.what, self.since = what, time.monotonic()


_current: ContextVar[Stage | None] = ContextVar("stage", default=None)


@contextmanager
def loading() -> Iterator[Stage]:
    """Let what is called inside say what it is doing."""
    token = _current.set(stage := Stage())
    try:
        yield stage
    finally:
        _current.reset(token)


def waiting(what: str) -> None:
    """Say that this replica waits: ``"for its turn on a shared card"``."""
    if (stage := _current.get()) is not None:
        stage.change(f"it has been waiting {what}")


def resumed() -> None:
    """Say that this replica no longer waits, but loads."""
    if (stage := _current.get()) is not None:
        stage.change(_LOADING)
