r"""A language model that is asked whether a step is right: the reward compares its Yes with its No.

Without a critique the model answers at once (GenRM, arXiv 2408.15240: the reward is the probability of the
token Yes). With one (``critique_tokens``) it reasons first, up to the text ``verdict`` that precedes its
verdict (GenPRM, arXiv 2504.00891: ``\boxed{``), and the verdict is read there. Several critiques are
averaged; their seeds derive from the run's seed and the text that they judge, so equal texts of a problem
have equal critiques, which are generated once a call. The log-odds are log p(Yes) - log p(No) from the
engine's ``loglik``: unlike in a list of the most likely tokens, neither can be absent. A critique without a
verdict is an error, never 0.5.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from actors.text.tokens import InnerTokenizer, TokenIds
from actors.verifiers.asking import AskingVerifier
from actors.verifiers.config import GenerativeVerifierConfig
from orchestrator.errors import ConfigError
from orchestrator.protocols import (
    EngineBase,
    Failure,
    GenerateRequest,
    LoglikRequest,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
)
from orchestrator.seeds import derive_seed
from orchestrator.types import Finish, Reward, Sampling, Step, Usage, total

FIELDS = re.compile(r"\{(question|steps|step|number)\}")
"""The fields of a template; any other brace is literal."""


def prompt_of(config: GenerativeVerifierConfig, question: str, steps: Sequence[str]) -> str:
    """Return the text that asks about the last of ``steps``."""
    shown = [
        config.step_template.replace("{number}", str(i)).replace("{step}", step)
        for i, step in enumerate(steps, start=1)
    ]
    fields = {"question": question, "steps": "".join(shown), "step": steps[-1], "number": str(len(steps))}
    return FIELDS.sub(lambda field: fields[field[1]], config.template)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The verdict on one step, or why there is none; ``usage`` counts what was spent in both cases."""

    verdict: Reward | Failure
    usage: Usage


class GenerativeVerifier(AskingVerifier):
    """Asks about each new step (``whole``: about all steps at once) through any engine."""

    def __init__(self, config: GenerativeVerifierConfig, engine: EngineBase, tokenizer: Any) -> None:
        """Take the ``engine`` that ``config.engine`` built, and the ``tokenizer`` of its model.

        Raises ConfigError where the two verdicts do not begin with different tokens.
        """
        super().__init__(engine, config.readout)
        self._config = config
        ids = InnerTokenizer(tokenizer).ids
        self._good, self._bad = ids(config.good), ids(config.bad)
        _check_known(tokenizer, good=(config.good, self._good), bad=(config.bad, self._bad))
        if self._good[:1] == self._bad[:1]:
            allowed = f"must begin with another token than verifier.good={config.good!r}"
            raise ConfigError("verifier.bad", repr(config.bad), allowed)

    @property
    def info(self) -> ModelInfo:
        is_drawn = self._config.critique_tokens > 0 and self._config.temperature > 0
        return replace(super().info, sampling=is_drawn)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards of each request, in order; a step without a verdict fails only its request.

        All questions are sent to the engine at once, which batches them. With critiques the first of equal
        requests pays for all of them: theirs would be the same, token by token.
        """
        texts = [(r.problem_id, r.question, r.steps, r.num_locked, r.seed) for r in requests]
        if not self._config.critique_tokens:
            return list(await asyncio.gather(*map(self._score, requests)))
        first = {text: i for i, text in reversed(list(enumerate(texts)))}
        replies = await asyncio.gather(*(self._score(requests[i]) for i in first.values()))
        judged = dict(zip(first, replies, strict=True))
        return [judged[t] if first[t] == i else _unpaid(judged[t]) for i, t in enumerate(texts)]

    async def _score(self, request: ScoreRequest) -> ScoreReply | Failure:
        num_steps = len(request.steps)
        first = num_steps if self._config.readout == "whole" else request.num_locked + 1
        judged = await asyncio.gather(*(self._judge(request, n) for n in range(first, num_steps + 1)))
        rewards = []
        for each in judged:
            if isinstance(each.verdict, Failure):
                return each.verdict
            rewards.append(each.verdict)
        return ScoreReply(tuple(rewards), total([each.usage for each in judged]))

    async def _judge(self, request: ScoreRequest, number: int) -> _Judged:
        """The verdict on step ``number``: the mean over its critiques."""
        prompt = prompt_of(self._config, request.question, request.steps[:number])
        critiques = range(self._config.num_critiques)
        judged = await asyncio.gather(*(self._criticise(request, prompt, i) for i in critiques))
        usage = total([each.usage for each in judged])
        verdicts = [each.verdict for each in judged]
        rewards = [v for v in verdicts if isinstance(v, Reward)]
        if len(rewards) < len(verdicts):
            return _Judged(next(v for v in verdicts if isinstance(v, Failure)), usage)
        return _Judged(rewards[0] if len(rewards) == 1 else _mean(rewards), usage)

    async def _criticise(self, asked: ScoreRequest, prompt: str, index: int) -> _Judged:
        """The verdict after one critique, if the configuration requests critiques."""
        if not self._config.critique_tokens:
            return await self._read(asked, prompt, (), Usage())
        run_seed = asked.seed if isinstance(asked.seed, int) else 0
        request = GenerateRequest(
            home=asked.home,
            problem=asked.problem,
            question=prompt,
            instruction="",
            token_ids=(),
            params=Sampling(self._config.temperature, 1.0, self._config.critique_tokens),
            seed=derive_seed("critique", run_seed, asked.problem_id, prompt, index),
            delimiter=self._config.verdict,
            answer_marker=None,
        )
        (reply,) = await self._engine.generate([request])
        if isinstance(reply, Failure):
            return _Judged(reply, Usage())
        usage, step = reply.usage.as_rewards(), reply.steps[-1]
        if step.finish is not Finish.STEP or not step.text.endswith(self._config.verdict):
            return _Judged(self._no_verdict(step), usage)
        return await self._read(asked, prompt, step.token_ids, usage)

    async def _read(self, asked: ScoreRequest, prompt: str, critique: TokenIds, usage: Usage) -> _Judged:
        """log p(good) - log p(bad) after the critique."""
        requests = [
            LoglikRequest(asked.home, prompt, "", critique, (ids,), problem=asked.problem)
            for ids in (self._good, self._bad)
        ]
        replies = await self._engine.loglik(requests)
        logprobs = []
        for reply in replies:
            if isinstance(reply, Failure):
                return _Judged(reply, usage)
            usage += reply.usage.as_rewards()
            logprobs.append(reply.logprobs[0])
        if not all(map(math.isfinite, logprobs)):
            return _Judged(self._not_finite(logprobs), usage)
        return _Judged(Reward(logprobs[0] - logprobs[1]), usage)

    def _no_verdict(self, step: Step) -> Failure:
        limit, marker = self._config.critique_tokens, self._config.verdict
        message = f"a critique of {len(step.token_ids)} tokens (at most {limit}) ended without {marker!r}"
        return Failure("VerifierError", f"{message}: {step.finish.value}")

    def _not_finite(self, logprobs: Sequence[float]) -> Failure:
        words = f"{self._config.good!r} and {self._config.bad!r}"
        return Failure("VerifierError", f"the log-probabilities of {words} are {logprobs}")


def _check_known(tokenizer: Any, **verdicts: tuple[str, TokenIds]) -> None:
    unknown = getattr(tokenizer, "unk_token_id", None)
    for option, (text, ids) in verdicts.items():
        if not ids or (unknown is not None and unknown in ids):
            allowed = f"must be a text that the tokenizer knows: its tokens are {list(ids)}"
            raise ConfigError(f"verifier.{option}", repr(text), allowed)


def _unpaid(reply: ScoreReply | Failure) -> ScoreReply | Failure:
    return reply if isinstance(reply, Failure) else replace(reply, usage=Usage())


def _mean(rewards: Sequence[Reward]) -> Reward:
    return Reward.from_value(fmean(r.value for r in rewards))
