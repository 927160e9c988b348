"""A session in which every text answers a prompt in place of the task's question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from orchestrator.search.session import Session
from orchestrator.types import Params, Prompt, Step, Trajectory


@dataclass
class Answering:
    """What a session's texts answer; ``num_dropped`` of them answer the question, for want of room."""

    prompt: Prompt
    num_dropped: int = 0

    def within(self, session: Session) -> Session:
        """Return the session with this prompt."""
        return cast(Session, _Prompted(session, self))

    def begun(self, trajectory: Trajectory) -> Trajectory:
        """Return a trajectory without steps after the prompt; any other goes on with what it answers."""
        return trajectory if trajectory.steps or trajectory.prompt else Trajectory(prompt=self.prompt)


class _Prompted:
    """A session whose new texts answer a prompt; all else is the session's, forks included.

    A strategy that runs in it knows nothing of the prompt: its answers are rewarded and compared as answers
    to the task's problem. Texts whose prompt leaves no room for ``max_tokens`` answer the question alone.
    Nothing is generated ahead: that is for the question.
    """

    def __init__(self, session: Session, answering: Answering) -> None:
        self._session, self._answering = session, answering

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def fork(self, name: str, *, after: Session | None = None) -> Session:
        return self._answering.within(self._session.fork(name, after=after))

    async def generate(
        self, trajectories: Sequence[Trajectory], params: Params | Sequence[Params], **how: Any
    ) -> list[Trajectory]:
        rows = [self._answering.begun(t) for t in trajectories]
        if any(t.steps for t in rows):
            return await self._session.generate(rows, params, **how)
        each = params if isinstance(params, Sequence) else [params]
        room = max((p.max_tokens for p in each), default=1)
        found = await self._session.generate(rows, params, **{"room": room, **how})
        if self._session.exhausted or any(t.steps for t in found):
            return found
        self._answering.num_dropped += len(found)
        return await self._session.generate(trajectories, params, **how)

    async def loglik(self, prefix: Trajectory, steps: Sequence[Step], **how: Any) -> list[float]:
        return await self._session.loglik(self._answering.begun(prefix), steps, **how)

    def expect(self, params: Sequence[Params], *, samples: Sequence[int]) -> None:
        pass
