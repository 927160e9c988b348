"""What is kept from one point of a sweep to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Warm(Generic[T]):
    """One value, made for a key and kept as long as nothing else is asked for.

    The old one is closed before the next is made: two sets of replicas may not fit beside each other. A value
    whose making fails leaves nothing behind.
    """

    def __init__(self, close: Callable[[T], None]) -> None:
        self._close = close
        self._kept: tuple[str, T] | None = None

    def of(self, key: str, make: Callable[[], T]) -> T:
        """The kept value where its key is ``key``; a new one otherwise."""
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        self.close()
        value = make()
        self._kept = key, value
        return value

    def close(self) -> bool:
        """Let go of the value; whether there was one."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._close(kept[1])
        return kept is not None
