"""Our engines and verifiers behind the abstract classes of its_hub, so that both libraries ask the same."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from its_hub.api import AbstractLanguageModel, AbstractProcessRewardModel
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering, ParticleFilteringResult
from its_hub.core.lms.step_generation import StepGeneration

from orchestrator.protocols import (
    Completion,
    Engine,
    GenerateRequest,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
)
from orchestrator.seeds import derive_seed
from orchestrator.types import Problem, Sampling


class Policy(AbstractLanguageModel):  # type: ignore[misc]
    """An engine that generates one step a message, delimiter included."""

    def __init__(self, engine: Engine, task: Task, problem: Problem, max_tokens: int, seed: int) -> None:
        self._engine = engine
        self._task = task
        self._problem = problem
        self._max_tokens = max_tokens
        self._seed = seed
        self._num_calls = 0
        # They keep texts, engines take token ids: the ids of every text that was handed out.
        self._token_ids: dict[str, tuple[int, ...]] = {"": ()}

    async def agenerate(self, messages: Any, stop: str | None = None, **kwargs: Any) -> Any:
        """A response for each of a batch of conversations."""
        self._num_calls += 1
        prefixes = [m[1].content if len(m) > 1 else "" for m in messages]
        sampling = Sampling(temperature=kwargs["temperature"], max_tokens=self._max_tokens)
        replies = await self._engine.generate(
            [self._request(prefix, sampling, row) for row, prefix in enumerate(prefixes)]
        )
        return [
            {"role": "assistant", "content": self._accept(prefix, reply)}
            for prefix, reply in zip(prefixes, replies, strict=True)
        ]

    def _request(self, prefix: str, sampling: Sampling, row: int) -> GenerateRequest:
        return GenerateRequest(
            home=self._problem.id,
            question=self._problem.question,
            instruction=self._task.instruction,
            token_ids=self._token_ids[prefix],
            params=sampling,
            seed=derive_seed(self._seed, self._problem.id, self._num_calls, row),
            delimiter=self._task.delimiter,
            answer_marker=self._task.answer_marker,
        )

    def _accept(self, prefix: str, reply: object) -> str:
        assert isinstance(reply, Completion), reply
        (step,) = reply.steps
        self._token_ids[prefix + step.text] = self._token_ids[prefix] + step.token_ids
        return step.text


class Judge(AbstractProcessRewardModel):  # type: ignore[misc]
    """A verifier that rewards a text by its last step."""

    def __init__(self, verifier: Verifier, problem: Problem, delimiter: str) -> None:
        self._verifier = verifier
        self._problem = problem
        self._delimiter = delimiter

    async def ascore(self, prompt_or_messages: Any, steps: Sequence[str]) -> list[float]:
        """Values in [0, 1], one for each text (they call them steps)."""
        replies = await self._verifier.score([self._request(text) for text in steps])
        assert all(isinstance(r, ScoreReply) for r in replies), replies
        return [r.rewards[-1].value for r in replies if isinstance(r, ScoreReply)]

    def score(self, prompt_or_messages: Any, steps: Sequence[str]) -> list[float]:
        raise NotImplementedError("particle filtering asks ascore")

    def _request(self, text: str) -> ScoreRequest:
        parts = text.split(self._delimiter)
        steps = [part + self._delimiter for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
        return ScoreRequest(self._problem.id, self._problem.question, tuple(steps), len(steps) - 1)


async def their_filter(
    engine: Engine,
    verifier: Verifier,
    task: Task,
    problem: Problem,
    sampling: Sampling,
    *,
    num_particles: int,
    max_steps: int,
    seed: int,
    **knobs: Any,
) -> ParticleFilteringResult:
    """Their result of one problem; ``max_steps`` is the number that they are given."""
    steps = StepGeneration(
        max_steps=max_steps,
        step_token=task.delimiter,
        stop_token=task.answer_marker,
        temperature=sampling.temperature,
        include_stop_str_in_output=True,
    )
    policy = Policy(engine, task, problem, sampling.max_tokens, seed)
    judge = Judge(verifier, problem, task.delimiter)
    # They draw from the global generator.
    random.seed(derive_seed(seed, problem.id, "its_hub"))
    filtering = ParticleFiltering(steps, judge, **knobs)
    return await filtering.ainfer(policy, problem.question, num_particles, return_response_only=False)


def resampling_kept(asked: str) -> str:
    """The resampling that their filter has after it was asked for one."""
    steps = StepGeneration(max_steps=1, step_token="\n")
    return str(ParticleFiltering(steps, prm=None, resampling_method=asked).resampling_method.value)
