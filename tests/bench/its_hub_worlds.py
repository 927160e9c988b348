"""What both libraries search in: an engine, a verifier and problems, and how each is asked for an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.protocols import Engine, Task, Verifier
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.tasks.chain import ChainTask
from orchestrator.testing import Copying, FakeEngine, FakeTask, FakeVerifier, RewardFunction, letters_right
from orchestrator.types import Problem, Reward, Sampling
from strategies.particle_filter import ParticleFilter

Solve = Callable[[Problem, int, int], Awaitable[str]]
"""From a problem, N and a seed to the text of the answer."""


@dataclass(frozen=True)
class World:
    """What both libraries search in."""

    name: str
    task: Task
    engine: Engine
    verifier: Verifier
    sampling: Sampling
    max_steps: int
    problems: tuple[Problem, ...]

    async def ours(self, problem: Problem, num_particles: int, seed: int, **knobs: Any) -> str:
        """The text of our answer."""
        strategy = ParticleFilter(num_particles, self.max_steps, self.sampling, **knobs)
        session = Session(
            Ledger(problem, engine=self.engine, verifier=self.verifier, task=self.task, seed=seed)
        )
        solution = await strategy.solve(session)
        assert solution.answer_index is not None
        return solution.trajectories[solution.answer_index].text

    async def theirs(self, problem: Problem, num_particles: int, seed: int) -> str:
        """The text of their answer."""
        from tests.bench.its_hub_seam import their_filter

        # They take one step more than they are asked for.
        result = await their_filter(
            self.engine, self.verifier, self.task, problem, self.sampling,
            num_particles=num_particles, max_steps=self.max_steps - 1, seed=seed,
        )  # fmt: skip
        return str(result.the_one["content"])


def fake_world(name: str, engine: FakeEngine, reward: RewardFunction, problems: Iterable[Problem]) -> World:
    """Words of four letters, or the toy language; the policy as it is, at temperature 1."""
    sampling = Sampling(temperature=1.0, max_tokens=16)
    return World(name, FakeTask(), engine, FakeVerifier(reward), sampling, 5, tuple(problems))


def hesitant(question: str, steps: Sequence[str]) -> float:
    """The fakes' reward with a third of its log-odds: as good a ranking, less sure of it."""
    return Reward(Reward.from_value(letters_right(question, tuple(steps))).log_odds / 3).value


def late(question: str, steps: Sequence[str]) -> float:
    """The hesitant one, which says nothing before it has seen the answer."""
    return hesitant(question, steps) if steps[-1].startswith("=") else 0.5


def fake_worlds(num_problems: int) -> list[World]:
    """Words to copy, with verifiers that differ in what they are sure of, and when."""
    verifiers = {"confident": letters_right, "hesitant": hesitant, "hesitant and late": late}
    words = list(FakeTask().problems(0, num_problems))
    return [
        fake_world(f"fakes, {name} verifier", FakeEngine(Copying(stop=0.0)), reward, words)
        for name, reward in verifiers.items()
    ]


def chain_world(num_problems: int) -> World:
    """The shipped models, in this process."""
    import torch

    from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig

    torch.set_num_threads(1)
    task = ChainTask()
    engine = TransformersEngineConfig("embedded:chain-policy", template="{question}\n").build()
    verifier = TransformersVerifierConfig("embedded:chain-verifier").build()
    sampling = Sampling(temperature=0.8, max_tokens=16)
    problems = tuple(task.problems(0, num_problems))
    return World("chain, shipped models", task, engine, verifier, sampling, 10, problems)
