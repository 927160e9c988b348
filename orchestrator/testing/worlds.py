"""A toy world: the fakes, one problem, and the sessions that a strategy searches it with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.search.account import Limits
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.storage.journal import Journal
from orchestrator.testing.fakes import FakeEngine, FakeTask, FakeVerifier, Language, RewardFunction
from orchestrator.types import Problem, Solution

USUAL = ("draft",)
"""The names of policies that strategies use without being told of others."""
PROBLEM = Problem(id="toy", question="abca", answer="abca")


@dataclass(frozen=True)
class Table:
    """A language by the text so far; a text that is not listed continues as ``otherwise``."""

    rows: Mapping[str, Mapping[str, float]]
    otherwise: Mapping[str, float]

    def __call__(self, question: str, prefix: str) -> Mapping[str, float]:
        return self.rows.get(prefix, self.otherwise)


@dataclass
class World:
    """Fakes with new records, and the sessions that ask them.

    ``policies`` are engines by name. The names of ``USUAL`` that are not given are other names of ``engine``.

    Example::

        world = World(reward=lambda question, steps: 0.5)
        solution = await world.solve(MyStrategy(), seed=3, generated_tokens=100)
        assert solution.usage.generated_tokens == world.engine.usage.generated_tokens
    """

    language: Language | None = None
    reward: RewardFunction | None = None
    task: FakeTask = field(default_factory=FakeTask)
    engine: FakeEngine = field(default_factory=FakeEngine)
    verifier: FakeVerifier | None = field(default_factory=FakeVerifier)
    policies: Mapping[str, FakeEngine] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.language is not None:
            self.engine.language = self.language
        if self.reward is not None and self.verifier is not None:
            self.verifier.reward = self.reward

    def session(self, seed: int = 0, journal: Journal | None = None, **limits: Any) -> Session:
        """Return a session of ``PROBLEM``; ``limits`` are fields of ``Limits``."""
        return Session(
            Ledger(
                PROBLEM,
                engine=self.engine,
                verifier=self.verifier,
                task=self.task,
                seed=seed,
                limits=Limits(**limits),
                journal=journal or Journal(),
                policies={**dict.fromkeys(USUAL, self.engine), **self.policies},
            )
        )

    async def solve(self, strategy: Strategy, seed: int = 0, **limits: Any) -> Solution:
        """Search ``PROBLEM`` with a strategy."""
        return await strategy.solve(self.session(seed, **limits))
