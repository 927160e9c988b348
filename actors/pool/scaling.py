"""When replicas beyond the requested ones join and leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping

from actors.pool.member import Member
from actors.pool.placement import ClusterConfig

_PERIOD_S = 1.0


def to_give_back(
    idle_s: Mapping[str, float], extra: Collection[str], *, num_base: int, limit_s: float | None
) -> list[str]:
    """Return the extra replicas to give back: those idle for ``limit_s`` seconds, the idlest first.

    ``idle_s`` has the living replicas; ``num_base`` of them stay, idle or not. A limit of None gives nothing
    back.
    """
    if limit_s is None:
        return []
    idle = sorted((n for n in extra if idle_s.get(n, 0.0) >= limit_s), key=idle_s.__getitem__, reverse=True)
    return idle[: max(0, len(idle_s) - num_base)]


def is_crowded(loads: Collection[int], num_queued: int, spill_margin: int) -> bool:
    """Return whether one more replica would have something to do at once.

    It would where calls wait for a place, and where even the least loaded replica has more rows than
    ``spill_margin``.
    """
    return num_queued > 0 or min(loads, default=0) > spill_margin


class Scaler:
    """Gives idle extra replicas back, and requests them again when there is work for them."""

    def __init__(
        self,
        members: Mapping[str, Member],
        num_base: int,
        config: ClusterConfig,
        num_queued: Callable[[], int],
    ) -> None:
        self._members = members
        self._num_base = num_base
        self._extra = list(members)[num_base:]
        self._config = config
        self._num_queued = num_queued

    async def run(self) -> None:
        """Decide every second until it is cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            await self.step(time.monotonic())

    async def step(self, now: float) -> None:
        """Decide once, at ``time.monotonic() == now``: some leave, or one more is requested."""
        alive = {name: m for name, m in self._members.items() if m.life is not None}
        idle_s = {name: member.idle_s(now) for name, member in alive.items()}
        leaving = to_give_back(idle_s, self._extra, num_base=self._num_base, limit_s=self._config.idle_s)
        out = [name for name in self._extra if self._members[name].is_out]
        if leaving:
            reason = f"is given back: idle for {self._config.idle_s:g} s (cluster.idle_s)"
            await asyncio.gather(*(self._members[name].give_back(reason) for name in leaving))
        elif out and is_crowded(
            [m.life.num_rows for m in alive.values() if m.life is not None],
            self._num_queued(),
            self._config.spill_margin,
        ):
            self._members[out[0]].join_later()
