"""What chooses an answer with more than rewards and votes: by the texts, or by calls of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.search.session import Session
from orchestrator.types import RoleRecord, Trajectory
from strategies.parts.voting import argmax, vote


@dataclass(frozen=True, slots=True)
class Offered:
    """The candidates, at least one: their texts, the keys of their answers, rewards and log-weights.

    Equivalent answers have equal keys, None where none can be read; ``scores`` are aggregated log-odds.
    """

    trajectories: Sequence[Trajectory]
    keys: Sequence[str | None]
    scores: Sequence[float]
    log_weights: Sequence[float]

    def elected(self, among: Sequence[int] | None = None) -> int:
        """Return the winner of the vote among some candidates, or all; without an answer the best reward."""
        among = range(len(self.trajectories)) if among is None else among
        scores = [self.scores[i] for i in among]
        winner = vote([self.keys[i] for i in among], scores)
        return among[argmax(scores) if winner is None else winner]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The index of the answer among the candidates, and what models said for it."""

    index: int | None
    said: tuple[RoleRecord, ...] = ()


class Chooser(ABC):
    """A selection with knobs of its own (``conf/selection``).

    It chooses in a pure function of the candidates, and of replies that it requests through the session.
    """

    @property
    @abstractmethod
    def prompts(self) -> bool:
        """Whether it asks the main policy something else than the task's question."""

    @abstractmethod
    async def choose(self, session: Session, offered: Offered) -> Chosen:
        """Return the answer's index among the candidates."""
