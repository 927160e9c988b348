"""A reward model served by vLLM: a classifier by its pooling runner, a language model by its sampler."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from actors.text.tokens import TokenIds, refuse_tokens
from actors.verifiers.formats import Format, Rendered, Verdict, build_format
from actors.vllm_engine.config import VllmVerifierConfig
from actors.vllm_engine.loading import Started, start
from actors.vllm_engine.settings import Purpose
from orchestrator.errors import EngineDeadError, EngineError, VerifierError
from orchestrator.protocols import Failure, ModelInfo, ScoreReply, ScoreRequest, VerifierBase
from orchestrator.types import Reward, Usage

# Every position's outputs, also behind a cached prefix: by default vLLM would read no cache at all, and its
# STEP pooling kills the engine where it does.
_CLASSIFIER: Mapping[str, Any] = {"runner": "pooling", "pooler_config": {"tok_pooling_type": "ALL"}}


class VllmVerifier(VerifierBase):
    """Scores new steps only: vLLM's cache of blocks holds what it read before, and rewards are locked.

    ``readout`` ``per_step`` gives a reward at the end of each new step; ``whole`` one for all the steps as
    a single one, read at its end.
    """

    def __init__(self, config: VllmVerifierConfig) -> None:
        """Start vLLM. Raises ConfigError, and EngineError where vLLM does not start."""
        self._format = build_format(config.format, config.options, config.readout)
        self._readout = config.readout
        is_classifier = self._format.head == "classifier"
        purpose = Purpose(
            fixed=_CLASSIFIER if is_classifier else {"logprobs_mode": "raw_logprobs"},
            checks=(self._format.layout,),
        )
        self._started = started = start(config, purpose)
        self._layout = self._format.layout(started.tokenizer)
        verdict = self._verdict(self._format)
        self._layout.check_vocabulary(started.vocab_size, None if is_classifier else verdict)
        self._head: _Head = (
            _Classifier(started, verdict) if is_classifier else _LanguageModel(started, verdict)
        )
        self._num_read = 0

    @property
    def info(self) -> ModelInfo:
        """``batch_invariant`` where vLLM's mode of that name is on."""
        return ModelInfo(self._started.batch_invariant, readout=self._readout)

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts deviate from the tokenizer and its template."""
        return self._layout.notes

    @property
    def healthy(self) -> bool:
        """False once vLLM's process has died: the verifier must be replaced."""
        return self._started.healthy

    @property
    def progress(self) -> int:
        """Tokens read since the start; it grows while a call runs."""
        return self._num_read

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards of each request's new steps, in order. Raises EngineDeadError."""
        return list(await asyncio.gather(*(self._score(r) for r in requests)))

    async def close(self) -> None:
        """End vLLM's processes; requests in flight raise."""
        await self._started.shut_down()

    def _verdict(self, format: Format) -> Verdict:
        config = self._started.llm.vllm_config.model_config.hf_config.get_text_config()
        return format.verdict(self._layout, int(config.num_labels))

    async def _score(self, request: ScoreRequest) -> ScoreReply | Failure:
        rendered = self._layout.render(request.question, request.steps, request.num_locked, self._readout)
        if not rendered.token_ids:
            return Failure("VerifierError", "a trajectory of 0 steps has no reward")
        longest = self._started.max_context - self._head.num_generated
        refusal = refuse_tokens(rendered.token_ids, longest, self._started.vocab_size)
        if refusal is not None:
            return refusal
        try:
            read = await self._head.read(rendered)
        except EngineDeadError:
            raise
        except (EngineError, VerifierError) as error:
            return Failure(type(error).__name__, str(error))
        self._num_read += read.num_computed
        usage = Usage(
            reward_tokens=read.num_computed,
            cached_reward_tokens=read.num_cached,
            flops=2.0 * self._started.num_parameters * read.num_computed,
        )
        return ScoreReply(tuple(Reward(value) for value in read.log_odds), usage)


@dataclass(frozen=True, slots=True)
class _Read:
    """The log-odds at each of the requested positions, and the number of tokens computed for them."""

    log_odds: tuple[float, ...]
    num_computed: int
    num_cached: int


class _Head(Protocol):
    """How vLLM computes the outputs at the end of a prompt."""

    @property
    def num_generated(self) -> int:
        """Tokens that vLLM needs room for beside the prompt."""
        ...

    async def read(self, rendered: Rendered) -> _Read: ...


class _Classifier:
    """One pass gives a row of labels for every token not in the cache, the last ones at the end."""

    num_generated = 0

    def __init__(self, started: Started, verdict: Verdict) -> None:
        self._started = started
        self._verdict = verdict
        self._names = itertools.count()

    async def read(self, rendered: Rendered) -> _Read:
        """Read a text in one pass, and positions that were in the cache in a pass each."""
        rows, num_cached = await self._ask(rendered.token_ids)
        num_asked, length = len(rendered.token_ids), len(rendered.token_ids)
        log_odds = []
        for position, prompt in zip(rendered.reads, rendered.prompts, strict=True):
            row = len(rows) - length + position
            if row >= 0:
                log_odds.append(self._verdict.log_odds(rows[row].tolist()))
                continue
            own, cached = await self._ask(prompt)
            log_odds.append(self._verdict.log_odds(own[-1].tolist()))
            num_asked, num_cached = num_asked + len(prompt), num_cached + cached
        return _Read(tuple(log_odds), num_asked - num_cached, num_cached)

    async def _ask(self, token_ids: TokenIds) -> tuple[Any, int]:
        """Return the logits ``[rows, labels]`` of the last rows, and the number of cached tokens."""
        from vllm import PoolingParams
        from vllm.inputs.engine import tokens_input

        params = PoolingParams(task="token_classify", use_activation=False, skip_reading_prefix_cache=False)
        prompt, name = tokens_input(list(token_ids)), f"s{next(self._names)}"
        answer = await self._started.answer(self._started.encode(prompt, params, name))
        rows, num_cached = answer.outputs.data, answer.num_cached_tokens or 0
        if rows.ndim != 2 or not 1 <= len(rows) <= len(token_ids):
            raise VerifierError(f"{len(token_ids)} tokens got outputs of shape {list(rows.shape)}")
        return rows.double(), num_cached


class _LanguageModel:
    """The next token's log-probabilities at each prompt's end: the difference of two is that of logits."""

    num_generated = 1

    def __init__(self, started: Started, verdict: Verdict) -> None:
        self._started = started
        self._verdict = verdict
        self._names = itertools.count()

    async def read(self, rendered: Rendered) -> _Read:
        """Read one prompt after another: each finds the previous one in the cache."""
        log_odds, num_asked, num_cached = [], 0, 0
        for prompt in rendered.prompts:
            outputs, cached = await self._ask(prompt)
            log_odds.append(self._verdict.log_odds(outputs))
            num_asked, num_cached = num_asked + len(prompt), num_cached + cached
        return _Read(tuple(log_odds), num_asked - num_cached, num_cached)

    async def _ask(self, token_ids: TokenIds) -> tuple[dict[int, float], int]:
        """Return the log-probability of each token that the verdict uses."""
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=list(self._verdict.outputs),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt, name = tokens_input(list(token_ids)), f"s{next(self._names)}"
        answer = await self._started.answer(self._started.generate(prompt, params, name))
        (choice,) = answer.outputs
        if not choice.logprobs:
            raise VerifierError(f"vLLM ended the request without an answer: {choice.finish_reason}")
        logprobs = {token: entry.logprob for token, entry in choice.logprobs[0].items()}
        return logprobs, answer.num_cached_tokens or 0
