"""The policy judges its own steps: a question on the prefix, answered by the likelihoods of a few tokens.

Adaptive Inference-Time Compute (Manvi, Singh, Ermon, arXiv 2410.02725) asks whether a fresh start would do
better, and takes p(No) as the reward; SpecReason (arXiv 2504.07891) asks for a digit. With the options in
order from the worst (0) to the best (n - 1), the reward is their expected place under the policy:

    reward = sum_i i p_i / ((n - 1) sum_i p_i)          log-odds for two options: log p_best - log p_worst

The question follows the policy's own token ids, and goes to its own replicas: what they have in their cache
of prefixes is not computed again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from msgspec import UnsetType

from orchestrator.backend import Backend, LocalVerifier
from orchestrator.errors import ConfigError, VerifierError
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.protocols import (
    Engine,
    EngineBase,
    EngineConfig,
    Failure,
    InStages,
    Loglik,
    MayLackPrefixes,
    ModelInfo,
    OptionsRequest,
    Readout,
    Remote,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
    VerifierBase,
)
from orchestrator.schema import checked
from orchestrator.types import ENGINE, Params, Reward, total

QuestionName = Literal["restart", "correct", "digit"]


@dataclass(frozen=True, slots=True)
class SelfEvaluation(VerifierBase):
    """Asks ``engine``, the policy of the name ``policy``, after each new step (``whole``: after the last)."""

    engine: Engine
    question: PrefixQuestion
    readout: Readout = "per_step"
    policy: str = ENGINE

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(self.engine.info.batch_invariant, readout=self.readout, reads=self.policy)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards of each request, in order; all questions reach the engine in one call."""
        asked = [self._asked(request) for request in requests]
        answers = await self.engine.loglik([q for questions in asked for q in questions])
        rest = iter(answers)
        groups = [[next(rest) for _ in questions] for questions in asked]
        return [self._reply(r, group) for r, group in zip(requests, groups, strict=True)]

    def _asked(self, request: ScoreRequest) -> list[OptionsRequest]:
        """Return a question for each step that gets a reward; none where the policy's ids are missing."""
        prefix, num_steps = request.prefix, len(request.steps)
        if isinstance(prefix, UnsetType) or len(prefix.steps) != num_steps:
            return []
        first = num_steps if self.readout == "whole" else request.num_locked + 1
        return [
            OptionsRequest(
                home=request.home,
                problem=request.problem,
                question=prefix.question,
                instruction=prefix.instruction,
                token_ids=tuple(t for step in prefix.steps[:number] for t in step),
                steps=(),
                history=prefix.history,
                asked=self.question.text,
                options=tuple(self.question.options),
            )
            for number in range(first, num_steps + 1)
        ]

    def _reply(self, request: ScoreRequest, answers: Sequence[Loglik | Failure]) -> ScoreReply | Failure:
        num_new = 1 if self.readout == "whole" else len(request.steps) - request.num_locked
        if len(answers) != num_new:
            message = f"{len(request.steps)} steps came without the token ids of policy={self.policy}"
            return Failure("VerifierError", message)
        rewards = []
        for answer in answers:
            if isinstance(answer, Failure):
                return answer
            try:
                rewards.append(expected_place(answer.logprobs, len(self.question.options)))
            except VerifierError as error:
                return Failure("VerifierError", str(error))
        usage = total([a.usage.as_rewards() for a in answers if isinstance(a, Loglik)])
        return ScoreReply(tuple(rewards), usage)


def expected_place(logprobs: Sequence[float], num_options: int) -> Reward:
    """Return the expected place of the options, from 0 for the first to 1 for the last, as a reward.

    ``logprobs`` are natural logs, and need not sum to 1. Raises VerifierError unless there is one an option,
    and unless the best and the worst can be compared.
    """
    if len(logprobs) != num_options or any(math.isnan(p) for p in logprobs):
        raise VerifierError(f"{num_options} options got the log-probabilities {list(logprobs)}")
    if max(logprobs) == -math.inf:
        raise VerifierError("the policy gives all options the probability 0")
    last = num_options - 1
    good = _log_sum([p + math.log(i / last) for i, p in enumerate(logprobs) if i])
    bad = _log_sum([p + math.log1p(-i / last) for i, p in enumerate(logprobs) if i < last])
    return Reward(good - bad)


def _log_sum(logs: Sequence[float]) -> float:
    highest = max(logs)
    if len(logs) == 1 or highest == -math.inf:
        return highest
    return highest + math.log(math.fsum(math.exp(x - highest) for x in logs))


@dataclass(frozen=True)
class AskedEngineConfig:
    """A policy's configuration whose replicas check, as they load, that they can answer a question."""

    engine: EngineConfig
    question: PrefixQuestion
    key: str

    @property
    def takes(self) -> type[Params]:
        return self.engine.takes

    @property
    def num_stages(self) -> int:
        """Those of the engine."""
        return self.engine.num_stages if isinstance(self.engine, InStages) else 1

    def build(self) -> Any:
        """Load the model. Raises ConfigError, also where it cannot answer."""
        engine: EngineBase = self.engine.build()
        engine.check_options(self.key, self.question.text, self.question.options)
        return engine


@dataclass(frozen=True)
class AskedRemoteConfig(AskedEngineConfig):
    """The same for a policy whose model runs on a server."""

    is_remote: ClassVar[bool] = True


@dataclass(frozen=True)
@checked("verifier")
class SelfEvaluationVerifierConfig(LocalVerifier):
    """The policy's opinion of its own steps (``conf/verifier/self_evaluation.yaml``).

    ``question`` names which of the three is asked; ``policy`` names the policy whose replicas answer it.
    """

    restart: PrefixQuestion
    correct: PrefixQuestion
    digit: PrefixQuestion
    question: QuestionName = "restart"
    policy: str = ENGINE
    readout: Readout = "per_step"

    @property
    def asked(self) -> PrefixQuestion:
        """The question that is asked."""
        question: PrefixQuestion = getattr(self, self.question)
        return question

    def asking(self, engine: EngineConfig) -> EngineConfig:
        """Return the policy's configuration with the question. Raises ConfigError where it lacks prefixes."""
        if isinstance(engine, MayLackPrefixes) and (because := engine.whole_because) is not None:
            allowed = "gives no likelihoods, which verifier=self_evaluation reads"
            raise ConfigError(because.key, because.value, allowed)
        kind = AskedRemoteConfig if isinstance(engine, Remote) else AskedEngineConfig
        return kind(engine, self.asked, f"verifier.{self.question}")

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier:
        """Return the verifier of a run on the policy's replicas."""
        return SelfEvaluation(backend.policies[self.policy], self.asked, self.readout, self.policy)
