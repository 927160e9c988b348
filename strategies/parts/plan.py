"""A compute-optimal plan as a strategy reads it, and a session that continues a list of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.schema import Count, Positive, checked
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.types import Params, Trajectory


@dataclass(frozen=True)
@checked("strategy.plan")
class Plan:
    """Falling ``cuts`` of the probes' mean reward, and for each level the index of its setting.

    The level of a problem is the number of cuts above its mean reward: 0 is the easiest. ``budget`` is the
    mean cost in samples that it was fitted for, with ``probes`` of them. ``gains`` are for the report:
    in sample, cross-validated, and the ends of its interval. ``orchestrator.allocation fit`` makes a plan.
    """

    cuts: tuple[float, ...]
    chosen: tuple[int, ...]
    settings: tuple[Strategy, ...]
    budget: Positive
    probes: Count = 4
    digest: str = ""
    gains: tuple[float, ...] = ()

    def setting(self, mean_reward: float) -> Strategy:
        """Return the strategy of a problem."""
        return self.settings[self.chosen[sum(mean_reward < cut for cut in self.cuts)]]

    @property
    def is_one_setting(self) -> bool:
        """Whether every level has the same setting: there is nothing to probe for."""
        return len({*self.chosen}) == 1


class Continued:
    """A session whose first samples are ``drawn`` already, with ``params``; all else is the session's."""

    def __init__(self, session: Session, drawn: Sequence[Trajectory], params: Params) -> None:
        self._session, self._params = session, params
        self._drawn: Mapping[int, Trajectory] = dict(enumerate(drawn))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def generate(
        self,
        trajectories: Sequence[Trajectory],
        params: Params | Sequence[Params],
        *,
        to_end: bool = False,
        samples: Sequence[int] | None = None,
    ) -> list[Trajectory]:
        """Extend as the session does; what the drawn sample of a number goes on with is not drawn again.

        By one step too: a setting that prunes continues the same list.
        """
        rows = [params] * len(trajectories) if not isinstance(params, Sequence) else list(params)
        numbers = [None] * len(trajectories) if samples is None else list(samples)
        known = {
            i: Trajectory(whole.steps if to_end else whole.steps[: len(start.steps) + 1])
            for i, (start, row, number) in enumerate(zip(trajectories, rows, numbers, strict=True))
            if number is not None and (whole := self._drawn_from(start, row, number)) is not None
        }
        left = [i for i in range(len(trajectories)) if i not in known]
        result = [known.get(i, t) for i, t in enumerate(trajectories)]
        if left:
            rest = await self._session.generate(
                [trajectories[i] for i in left],
                [rows[i] for i in left],
                to_end=to_end,
                samples=None if samples is None else [samples[i] for i in left],
            )
            for i, trajectory in zip(left, rest, strict=True):
                result[i] = trajectory
        return result

    def _drawn_from(self, start: Trajectory, params: Params, number: int) -> Trajectory | None:
        """Return the drawn sample that begins with ``start`` and has these parameters; None without one."""
        whole, num = self._drawn.get(number), len(start.steps)
        if whole is None or num >= len(whole.steps) or whole.steps[:num] != start.steps:
            return None
        left = self._params.max_tokens - start.num_tokens
        return whole if params == self._params.clip(max(1, left)) else None
