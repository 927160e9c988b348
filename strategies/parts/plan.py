"""A compute-optimal plan as a strategy reads it, and a session that continues a list of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.schema import Count, Positive, checked
from orchestrator.search.requests import check_numbers, per_row
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.types import ENGINE, Params, Trajectory


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
    """A session whose first samples are ``drawn`` already, with ``params``; all else is the session's.

    The samples are those of the main policy: what another one writes is the session's too.
    """

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
        policy: str = ENGINE,
        room: int | None = None,
    ) -> list[Trajectory]:
        """Extend as the session does; what the drawn sample of a number goes on with is not drawn again.

        By one step too: a setting that prunes continues the same list.
        """
        how = partial(self._session.generate, to_end=to_end, policy=policy, room=room)
        if samples is None or policy != ENGINE:
            return await how(trajectories, params, samples=samples)
        check_numbers(samples, len(trajectories))
        rows = per_row(params, len(trajectories))
        result, left = list(trajectories), list[int]()
        for i, (start, row, number) in enumerate(zip(trajectories, rows, samples, strict=True)):
            whole = self._drawn_from(start, row, number)
            if whole is None:
                left.append(i)
            else:
                result[i] = whole.with_steps(whole.steps if to_end else whole.steps[: len(start.steps) + 1])
        if left:
            starts, numbers = [trajectories[i] for i in left], [samples[i] for i in left]
            rest = await how(starts, [rows[i] for i in left], samples=numbers)
            for i, trajectory in zip(left, rest, strict=True):
                result[i] = trajectory
        return result

    def expect(self, params: Sequence[Params], *, samples: Sequence[int]) -> None:
        """Have the engine generate the numbered samples that are not drawn already, as the session does."""
        check_numbers(samples, len(params))
        start, pairs = Trajectory(), zip(params, samples, strict=True)
        left = [(row, number) for row, number in pairs if self._drawn_from(start, row, number) is None]
        if left:
            self._session.expect([row for row, _ in left], samples=[number for _, number in left])

    def _drawn_from(self, start: Trajectory, params: Params, number: int) -> Trajectory | None:
        """Return the drawn sample that begins with ``start`` and has these parameters; None without one.

        A text that is not begun answers what the sample does, unless it has a prompt of its own.
        """
        whole, num = self._drawn.get(number), len(start.steps)
        if whole is None or num >= len(whole.steps) or whole.steps[:num] != start.steps:
            return None
        if start.prompt != whole.prompt and (start.steps or start.prompt):
            return None
        left = self._params.max_tokens - start.num_tokens
        return whole if params == self._params.clip(max(1, left)) else None
