"""A language model's probability of each step as its reward: no training, any causal language model.

The reward of a step is exp(mean log-probability of its tokens): the geometric mean of their probabilities
under the model, usually a stronger one than the policy. Without normalisation (``normalise=none``) it is the
probability of the whole step, which decreases with its length. Both are Murmuration's choice: papers use the
idea under several names and state no scale.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actors.text.tokens import InnerTokenizer, TokenIds
from actors.verifiers.asking import AskingVerifier
from actors.verifiers.config import LikelihoodVerifierConfig
from orchestrator.errors import ConfigError, VerifierError
from orchestrator.protocols import (
    EngineBase,
    Failure,
    Loglik,
    LoglikRequest,
    ScoreReply,
    ScoreRequest,
)
from orchestrator.types import Reward


@dataclass(frozen=True, slots=True)
class _Asked:
    """The request to the engine, all steps of the trajectory, and how many of them are known.

    ``known_sum`` is the log-likelihood of the known steps, where it is kept.
    """

    request: LoglikRequest
    steps: tuple[TokenIds, ...]
    num_known: int
    known_sum: float = 0.0


class LikelihoodVerifier(AskingVerifier):
    """Teacher-forces new steps through an engine's ``loglik``; the engine caches earlier steps.

    The question is rendered by the engine's template. A step without tokens is an end of text: its reward is
    that of the end-of-text token.
    """

    def __init__(self, config: LikelihoodVerifierConfig, engine: EngineBase, tokenizer: Any) -> None:
        """Take the ``engine`` that ``config.engine`` built, and its model's tokenizer. Raises ConfigError."""
        super().__init__(engine, config.readout)
        self._config = config
        self._sums = _Sums()
        self._step_ids = InnerTokenizer(tokenizer).ids
        if tokenizer.eos_token_id is None:
            raise ConfigError("verifier.engine.model", None, "its tokenizer has no end-of-text token")
        self._end = (int(tokenizer.eos_token_id),)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards of each request's new steps (``whole``: of all its steps as one), in order."""
        asked = [self._asked(r) for r in requests]
        replies = await self._engine.loglik([a.request for a in asked])
        return [self._reply(a, reply) for a, reply in zip(asked, replies, strict=True)]

    def _asked(self, request: ScoreRequest) -> _Asked:
        steps = tuple(self._step_ids(text) or self._end for text in request.steps)
        whole = self._config.readout == "whole"
        # As one, the steps have one likelihood: that of the first ones is kept and not computed again.
        known, known_sum = self._sums.longest(request.question, steps) if whole else (request.num_locked, 0.0)
        asked = LoglikRequest(
            request.home,
            request.question,
            self._config.instruction,
            _joined(steps[:known]),
            steps[known:],
            problem=request.problem,
        )
        return _Asked(asked, steps, known, known_sum)

    def _reply(self, asked: _Asked, reply: Loglik | Failure) -> ScoreReply | Failure:
        if isinstance(reply, Failure):
            return reply
        num_new = len(asked.steps) - asked.num_known
        if len(reply.logprobs) != num_new:
            return Failure("VerifierError", f"{num_new} steps got {len(reply.logprobs)} likelihoods")
        try:
            if self._config.readout == "whole":
                rewards = [self._whole(asked, reply.logprobs)]
            else:
                rewards = list(map(self._reward, reply.logprobs, map(len, asked.steps[asked.num_known :])))
        except VerifierError as error:
            return Failure("VerifierError", str(error))
        return ScoreReply(tuple(rewards), reply.usage.as_rewards())

    def _whole(self, asked: _Asked, logprobs: Sequence[float]) -> Reward:
        """The reward of all steps as one; their sum is kept for the next call."""
        total = asked.known_sum
        for number, logprob in enumerate(logprobs, start=asked.num_known + 1):
            total += logprob  # always from the first step on: the same bits, with any known steps
            self._sums.keep(asked.request.question, asked.steps[:number], total)
        return self._reward(total, sum(map(len, asked.steps)))

    def _reward(self, logprob: float, num_tokens: int) -> Reward:
        if math.isnan(logprob):
            raise VerifierError(f"the log-likelihood of a step of {num_tokens} tokens is {logprob}")
        per = num_tokens if self._config.normalise == "token" else 1
        return Reward.from_log_value(min(0.0, logprob / per))  # a sum of rounded zeros may pass 0


class _Sums:
    """The log-likelihoods of trajectories seen before, the latest ``size`` of them."""

    def __init__(self, size: int = 65536) -> None:
        self._size = size
        self._sums: OrderedDict[tuple[str, tuple[TokenIds, ...]], float] = OrderedDict()

    def longest(self, question: str, steps: tuple[TokenIds, ...]) -> tuple[int, float]:
        """Return how many of the first steps have a sum, and the sum; at most all but the last step."""
        for number in range(len(steps) - 1, 0, -1):
            if (question, steps[:number]) in self._sums:
                return number, self._sums[question, steps[:number]]
        return 0, 0.0

    def keep(self, question: str, steps: tuple[TokenIds, ...], total: float) -> None:
        self._sums[question, steps] = total
        if len(self._sums) > self._size:
            self._sums.popitem(last=False)


def _joined(steps: Sequence[TokenIds]) -> TokenIds:
    return tuple(t for step in steps for t in step)
