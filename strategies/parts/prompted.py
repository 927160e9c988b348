"""A session in which every text answers a prompt in place of the task's question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from orchestrator.search.session import Session
from orchestrator.types import Params, Prompt, Step, Trajectory


class Prompted:
    """A session whose trajectories without a prompt have ``prompt``; all else is the session's.

    A strategy that runs in it knows nothing of the prompt: its answers are rewarded and compared as answers
    to the task's problem. Its forks are prompted too. Nothing is generated ahead: that is for the question.
    """

    def __init__(self, session: Session, prompt: Prompt) -> None:
        self._session, self._prompt = session, prompt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def fork(self, name: str, *, after: Session | None = None) -> Session:
        """Return a prompted session for a concurrent branch."""
        return prompted(self._session.fork(name, after=after), self._prompt)

    async def generate(
        self,
        trajectories: Sequence[Trajectory],
        params: Params | Sequence[Params],
        **how: Any,
    ) -> list[Trajectory]:
        """Extend as the session does, after the prompt."""
        return await self._session.generate([self._begun(t) for t in trajectories], params, **how)

    async def score(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        return await self._session.score([self._begun(t) for t in trajectories])

    async def loglik(self, prefix: Trajectory, steps: Sequence[Step], **how: Any) -> list[float]:
        """Return the likelihoods after the prompt and the prefix."""
        return await self._session.loglik(self._begun(prefix), steps, **how)

    def expect(self, params: Sequence[Params], *, samples: Sequence[int]) -> None:
        """Do nothing."""

    def _begun(self, trajectory: Trajectory) -> Trajectory:
        return trajectory if trajectory.prompt is not None else Trajectory(trajectory.steps, self._prompt)


def prompted(session: Session, prompt: Prompt | None) -> Session:
    """Return a session in which every text answers ``prompt``; the session itself without one."""
    return session if prompt is None else cast(Session, Prompted(session, prompt))
