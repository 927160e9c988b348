"""What a seed has in store for one part of a run: when its driver dies, and which writes fail."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field


class Killed(KeyboardInterrupt):
    """The driver is dead: it leaves its event loop, as no other exception does."""


@dataclass
class Fate:
    """Counts the steps of a part: each callback of the event loop and each operation on a file is one.

    ``on_death`` is called at step ``death_at``, or at that operation where it ``counts_operations``. From
    then on nothing counts that happens, and the event loop is left before its next callback. ``on_signal``
    is called at each step from ``signal_at`` on until it returns True. ``failing`` is which ``write`` or
    ``sync`` fails, by its number, and with which errno; with ``for_good`` all later ones fail as well.
    """

    on_death: Callable[[], None]
    on_signal: Callable[[], bool] = lambda: True
    death_at: int | None = None
    counts_operations: bool = False
    signal_at: int | None = None
    failing: tuple[str, int, int] | None = None
    for_good: bool = False
    most_steps: int = 50_000
    num_steps: int = 0
    num_operations: int = 0
    is_dead: bool = False
    is_left: bool = False
    has_failed: bool = False
    _counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_due(self) -> bool:
        """Whether the next step is the driver's last."""
        num = self.num_operations if self.counts_operations else self.num_steps
        return not self.is_dead and self.death_at is not None and num + 1 >= self.death_at

    def operation(self) -> None:
        """Counts an operation on a file, which is a step as well."""
        self._count(may_die=True)
        self.num_operations += not self.is_dead

    def step(self) -> None:
        """Counts a callback of the event loop. Raises AssertionError where the part never ends."""
        self._count(may_die=not self.counts_operations)

    def _count(self, *, may_die: bool) -> None:
        if self.is_dead:
            return
        if may_die and self.is_due:
            self.is_dead = True
            self.on_death()
            return
        self.num_steps += 1
        if self.signal_at is not None and self.num_steps >= self.signal_at and self.on_signal():
            self.signal_at = None
        if self.num_steps > self.most_steps:
            self.is_dead = self.is_left = True
            raise AssertionError(f"no end after {self.num_steps} steps")

    def leave(self) -> None:
        """Raises Killed once the driver is dead, and not again: what is left is to be cleared away."""
        if self.is_dead and not self.is_left:
            self.is_left = True
            raise Killed

    def fails(self, operation: str) -> int | None:
        """The errno with which this ``write`` or ``sync`` fails, if it does."""
        if self.is_dead or self.failing is None:
            return None
        self._counts[operation] = number = self._counts.get(operation, 0) + 1
        which, at, code = self.failing
        if operation == which and (number == at or (self.for_good and number > at)):
            self.has_failed = True
            return code
        return None


ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
