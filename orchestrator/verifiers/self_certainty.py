"""The policy's own certainty of a step as its reward: no second model, and no call to the first.

Self-certainty (Kang, Zhao, Song, "Scalable Best-of-N Selection for Large Language Models via
Self-Certainty", arXiv 2502.18581) is the mean over tokens of KL(uniform || p), which needs the whole
distribution at each token. Engines report the log-probability of the sampled token alone, so this is the
per-token form of the same idea, which the paper compares with as average log-probability:

    reward of a step = exp( mean over its tokens of log p(token | what comes before) )

with the log-probabilities at temperature 1 that came with the generated tokens. It is not the KL form, and
on one trajectory the two differ; both rank a peaked distribution above a flat one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.backend import Backend, LocalVerifier
from orchestrator.errors import VerifierError
from orchestrator.protocols import (
    Failure,
    ModelInfo,
    Readout,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
    VerifierBase,
)
from orchestrator.schema import checked
from orchestrator.types import Reward, Usage


@dataclass(frozen=True, slots=True)
class SelfCertainty(VerifierBase):
    """A verifier that rewards new steps (``whole``: all steps as one) by the engine's log-probabilities."""

    readout: Readout = "per_step"

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, readout=self.readout)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards in order; steps without log-probabilities fail their request alone."""
        return [self._reply(r) for r in requests]

    def _reply(self, request: ScoreRequest) -> ScoreReply | Failure:
        num_steps = len(request.steps)
        if len(request.logprobs) != num_steps or len(request.num_tokens) != num_steps:
            counts = f"{len(request.logprobs)} log-probabilities and {len(request.num_tokens)} lengths"
            return Failure("VerifierError", f"{num_steps} steps came with {counts}")
        try:
            if self.readout == "whole":
                return ScoreReply((_certainty(request.logprobs, request.num_tokens),), Usage())
            new = range(request.num_locked, num_steps)
            rewards = (_certainty(request.logprobs[i : i + 1], request.num_tokens[i : i + 1]) for i in new)
            return ScoreReply(tuple(rewards), Usage())
        except VerifierError as error:
            return Failure("VerifierError", str(error))


@dataclass(frozen=True)
@checked("verifier")
class SelfCertaintyVerifierConfig(LocalVerifier):
    """The policy's own certainty of a step (``conf/verifier/self_certainty.yaml``); it has no model."""

    readout: Readout = "per_step"

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier:
        return SelfCertainty(self.readout)


def _certainty(logprobs: Sequence[float | None], num_tokens: Sequence[int]) -> Reward:
    known = [p for p in logprobs if p is not None]
    if len(known) < len(logprobs) or any(map(math.isnan, known)):
        raise VerifierError(
            "the engine reported no log-probability for its step; self-certainty requires one for each"
        )
    if not all(num_tokens):
        raise VerifierError("a step of 0 tokens has no certainty")
    return Reward.from_log_value(min(0.0, math.fsum(known) / sum(num_tokens)))
