"""A session without models: steps are drawn from a table of a toy language's trajectories.

A law about a mean needs thousands of searches to hold it to a few per cent, and nearly all of the time of
one through engine, verifier and ledger goes to requests and seeds. Here the strategies are the real ones,
and only the session is replaced.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Coroutine, Sequence
from itertools import accumulate
from typing import Any, cast

import numpy as np

from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.testing import Language, RewardFunction
from orchestrator.types import Solution, Step, Trajectory, Usage
from tests.toy import PROBLEM, Steps, trajectory_of


class QuickSession:
    """What stepwise strategies ask of a session; one serves any number of searches."""

    exhausted = False
    usage = Usage()

    def __init__(self, language: Language, reward: RewardFunction, max_steps: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self._tree: dict[Steps, tuple[Trajectory, list[float], list[Steps]]] = {}
        self._language, self._reward, self._max_steps = language, reward, max_steps
        self._grow((), Trajectory())

    def _grow(self, path: Steps, trajectory: Trajectory) -> None:
        is_open = trajectory.active and len(path) < self._max_steps
        options = self._language(PROBLEM.question, "".join(path)) if is_open else {}
        children = [(*path, text) for text in options]
        self._tree[path] = (trajectory, list(accumulate(options.values())), children)
        for child in children:
            self._grow(child, trajectory_of(child, self._reward))

    async def generate(self, trajectories: Sequence[Trajectory], _: object) -> list[Trajectory]:
        """One step of each, scored already; one that has ended is returned unchanged."""
        draws = self.rng.random(len(trajectories)).tolist()
        return [self._child(t, u) if t.active else t for t, u in zip(trajectories, draws, strict=True)]

    def _child(self, parent: Trajectory, u: float) -> Trajectory:
        _, shares, children = self._tree[tuple(step.text for step in parent.steps)]
        return self._tree[children[min(bisect(shares, u), len(children) - 1)]][0]

    async def score(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Each with its rewards, those that the language itself would never write included."""
        return [self._scored(tuple(step.text for step in t.steps)) for t in trajectories]

    def _scored(self, path: Steps) -> Trajectory:
        return self._tree[path][0] if path in self._tree else trajectory_of(path, self._reward)

    async def loglik(self, prefix: Trajectory, steps: Sequence[Step]) -> list[float]:
        """The policy's log-probability of each step in turn."""
        found, texts = [], [step.text for step in prefix.steps]
        for step in steps:
            options = self._language(PROBLEM.question, "".join(texts))
            found.append(math.log(p) if (p := options.get(step.text, 0.0)) else -math.inf)
            texts.append(step.text)
        return found

    def fork(self, _name: str, *, after: Session | None = None) -> Session:
        """Return the same session: a branch draws from the same numbers."""
        del after
        return self.as_session()

    def meet(self, _branches: Sequence[Session]) -> None:
        """Note nothing: sequential tokens are not counted."""

    def note(self, _: object, *, begins: bool = False) -> None:
        """No search is drawn."""

    def as_session(self) -> Session:
        return cast(Session, self)

    def solve(self, strategy: Strategy) -> Solution:
        return cast(Solution, at_once(strategy.solve(self.as_session())))


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited for something")
