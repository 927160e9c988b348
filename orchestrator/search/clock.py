"""Sequential tokens: a Lamport clock over the calls of one search.

Lamport, "Time, Clocks, and the Ordering of Events in a Distributed System", 1978. A call advances its branch
by the most tokens that one of its rows generated. It begins after the calls of the branch, and after those
that the branch's forks have made; a fork begins after the calls of the branch that it leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Clock:
    """The sequential tokens of one branch; ``reach`` is called with each number that a branch comes to."""

    def __init__(self, reach: Callable[[int], None], begun: int = 0, parent: Clock | None = None) -> None:
        self._reach = reach
        self._own = begun
        self._latest = begun
        self._parent = parent

    @property
    def now(self) -> int:
        """Where the next call of this branch begins: after its own calls and those of its forks."""
        return self._latest

    def fork(self, parent: Clock) -> Clock:
        """Return the clock of a branch that begins after this one's own calls, and reports to ``parent``."""
        return Clock(self._reach, self._own, parent)

    def reach(self, ended: int) -> None:
        """Note that a call has ended here."""
        self._own = max(self._own, ended)
        clock: Clock | None = self
        while clock is not None:
            clock._latest = max(clock._latest, ended)
            clock = clock._parent
        self._reach(ended)

    @staticmethod
    def meet(clocks: Sequence[Clock]) -> None:
        """Set every clock to the latest of them."""
        latest = max((clock.now for clock in clocks), default=0)
        for clock in clocks:
            clock._own = clock._latest = latest
