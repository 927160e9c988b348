"""The progress of one search, as its session shows it: gathered until a client takes it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.outcome import Candidate
from orchestrator.protocols import Completion, GenerateRequest, Task
from orchestrator.search.account import Account, Limits
from orchestrator.search.requests import mark_answer
from orchestrator.storage.result_lines import candidate_line, finite, record_line
from orchestrator.types import NodeRecord, Params, StepRecord, Trajectory, Usage


@dataclass
class Progress:
    """A ``Watch``: what a search has reached. ``take`` returns what is new since it was last called.

    One that is not ``shown`` keeps the account alone. Nothing waits for a slow client: what it has not taken
    grows by the search's history alone.
    """

    task: Task
    shown: bool = True
    account: Account = field(default_factory=lambda: Account(Limits()))
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    step: int = 0
    num_alive: int = 0
    ess: float | None = None
    best: Trajectory | None = None
    _histories: dict[str, list[list[StepRecord | NodeRecord]]] = field(default_factory=dict)
    _new: dict[tuple[str, int, int], dict[str, Any]] = field(default_factory=dict)
    _answers: list[dict[str, Any]] = field(default_factory=list)
    _votes: Counter[str] = field(default_factory=Counter)

    @property
    def usage(self) -> Usage:
        return self.account.usage

    def begins(self, account: Account) -> None:
        self.account = account

    def reached(self, trajectories: Sequence[Trajectory]) -> None:
        if not self.shown:
            return
        self.num_alive = sum(t.active for t in trajectories)
        self.step = max([self.step, *(len(t.steps) for t in trajectories)])
        for trajectory in trajectories:
            if trajectory.steps and _rank(trajectory) > _rank(self.best):
                self.best = trajectory
        self.changed.set()

    def noted(self, scope: str, history: Sequence[StepRecord | NodeRecord], *, begins: bool) -> None:
        if not self.shown:
            return
        sweeps = self._histories.setdefault(scope, [])
        if begins or not sweeps:
            sweeps.append([])
        known = sweeps[-1]
        for i, record in enumerate(history):
            if i >= len(known) or known[i] != record:
                self._new[scope, len(sweeps) - 1, i] = record_line(record)
        sweeps[-1] = list(history)
        if history and isinstance(last := history[-1], StepRecord):
            self.ess, self.num_alive = last.ess, last.num_alive
        self.changed.set()

    def replied(self, request: GenerateRequest, completion: Completion) -> None:
        """See one whole answer, before the others of its call."""
        trajectory = Trajectory(mark_answer(request, completion))
        answer = self.task.extract(trajectory.text) if trajectory.finished else None
        if answer is not None:
            self._votes[answer] += 1
        if _rank(trajectory) > _rank(self.best):
            self.best = trajectory
        self._answers.append(_answer_line(trajectory, answer, request.params))
        self.changed.set()

    @property
    def answer_so_far(self) -> str | None:
        """The answer of the finished text with the highest reward; without rewards, the most frequent one."""
        if self.best is None or not self.best.finished:
            return None
        if self.best.reward is None and self._votes:
            return self._votes.most_common(1)[0][0]
        return self.task.extract(self.best.text)

    def take(self) -> dict[str, Any]:
        """Return the progress now, with what has changed of the history, as results.jsonl writes it."""
        self.changed.clear()
        new, self._new = self._new, {}
        answers, self._answers = self._answers, []
        records = [
            {"scope": f"{scope}#{sweep}", "index": i, **line} for (scope, sweep, i), line in new.items()
        ]
        reward = None if self.best is None else self.best.reward
        return {
            "step": self.step,
            "alive": self.num_alive,
            "ess": None if self.ess is None else finite(self.ess),
            "best_reward": None if reward is None else reward.value,
            "answer_so_far": self.answer_so_far,
            "usage": asdict(self.usage),
            **({"records": records} if records else {}),
            **({"answers": answers} if answers else {}),
        }


def _rank(trajectory: Trajectory | None) -> tuple[bool, float, int]:
    """Return what makes a text the best so far: that it has ended, its reward, its length."""
    if trajectory is None:
        return (False, -1.0, -1)
    reward = trajectory.reward
    return (trajectory.finished, -1.0 if reward is None else reward.value, len(trajectory.steps))


def _answer_line(trajectory: Trajectory, answer: str | None, params: Params) -> dict[str, Any]:
    return candidate_line(Candidate(trajectory, 0.0, answer, False, params))
