"""A policy of the transformers library, decoded in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from actors.batching.batcher import Batcher
from actors.batching.forward import worker_thread
from actors.text.prompting import Prompter, PromptStyle
from actors.text.questions import Questions
from actors.text.stepping import Detokenizer
from actors.text.tokenising import tokenizer_digest
from actors.text.tokens import InnerTokenizer, TokenIds, refuse_tokens
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.decoding import Decoder, Prompted
from actors.transformers_engine.encoding import Encoder, Passage, Reader, Reading
from actors.transformers_engine.loading import Loaded, Purpose, load
from actors.transformers_engine.prefix import PrefixStore
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    OptionsRequest,
)
from orchestrator.steps.rule import MODES
from orchestrator.types import Usage


class TransformersEngine(EngineBase):
    """Continuous batching over a causal language model, with keys and values kept for each prefix.

    A request joins the running batch at the next token and does not wait for other requests to end. With
    ``batch_invariant`` (float32 on a CPU) every bit of a reply depends only on its request; elsewhere replies
    to a request and seed agree up to rounding.
    """

    def __init__(self, config: TransformersEngineConfig, *, num_threads: int | None = None) -> None:
        """Load the model, with ``num_threads`` of torch where given. Raises ConfigError."""
        style = PromptStyle.of(config)
        loaded = load(
            config,
            Purpose(decodes=True, checks=(partial(Prompter, style=style),)),
            num_threads=num_threads,
        )
        self._loaded = loaded
        self._flops_per_token = 2.0 * loaded.num_parameters
        self._vocab_size = int(loaded.runner.model.config.vocab_size)
        self._prompter = Prompter(loaded.tokenizer, style, self._vocab_size)
        self._prompt_ids = self._prompter.token_ids
        self._questions = Questions(loaded.tokenizer, self._prompter, loaded.eos_ids)
        self._ids = InnerTokenizer(loaded.tokenizer, special=False).ids
        self._tokenizer_digest = tokenizer_digest(loaded.tokenizer)
        self._executor = worker_thread("engine")
        self._decoder, self._reader = self._workers(loaded, config)
        self._decoding = Batcher(self._decoder, self._executor)
        self._reading = Batcher(self._reader, self._executor)

    @property
    def info(self) -> ModelInfo:
        """What the model promises; batch invariance is probed at load."""
        return ModelInfo(
            self._loaded.batch_invariant,
            takes_history=self._prompter.takes_history,
            special=self._prompter.special,
            step_modes=MODES,
            tokenizer=self._tokenizer_digest,
        )

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts differ from what the tokenizer and its template alone would give."""
        return self._prompter.notes

    @property
    def healthy(self) -> bool:
        """False when forwards fail repeatedly: the engine should be replaced."""
        return self._loaded.runner.healthy

    @property
    def progress(self) -> int:
        """Tokens sampled or read since the start; it grows while a call runs."""
        return self._decoder.stats.sampled_tokens + self._reader.num_tokens

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Generate one step, or with ``to_end`` all remaining steps, for each request."""
        return await self._decoding.submit([self._prompted(r) for r in requests])

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        """Return the log-likelihood of each request's steps, computed in one pass."""
        passages = [self._allowed(r) for r in requests]
        readings = iter(await self._reading.submit([p for p in passages if isinstance(p, Passage)]))
        return [
            self._loglik(request, passage, next(readings)) if isinstance(passage, Passage) else passage
            for request, passage in zip(requests, passages, strict=True)
        ]

    async def encode(self, texts: Sequence[str]) -> list[TokenIds | Failure]:
        """Return the token ids of each text as it continues another one."""
        return [self._ids(text) for text in texts]

    def check_options(self, key: str, asked: str, options: Sequence[str]) -> None:
        """Raise ConfigError of ``key`` where the tokenizer has no such question, or no such options."""
        self._questions.check(key, asked, options)

    async def close(self) -> None:
        """End the background work; requests in progress raise RuntimeError."""
        await self._decoding.close()
        await self._reading.close()
        self._executor.shutdown()

    def stats(self) -> dict[str, int]:
        """Return counters since the start: tokens generated, of prompts, and of prompts from the cache."""
        counters = self._decoder.stats
        return {
            "generated_tokens": counters.generated_tokens,
            "prompt_tokens": counters.prompt_tokens,
            "cached_tokens": counters.cached_tokens,
            "forwards": counters.forwards,
        }

    def _workers(self, loaded: Loaded, config: TransformersEngineConfig) -> tuple[Decoder, Reader]:
        store = PrefixStore(loaded.runner.shape, config.cache_bytes)
        encoder = Encoder(loaded.runner, store, token_logprobs, self._vocab_size)
        decoder = Decoder(
            loaded.runner,
            store,
            encoder,
            Detokenizer(loaded.tokenizer, self._vocab_size, loaded.eos_ids),
            max_batch_size=config.max_batch_size,
            max_context=loaded.max_context,
            flops_per_token=self._flops_per_token,
        )
        return decoder, Reader(encoder)

    def _prompted(self, request: GenerateRequest) -> Prompted:
        prompt_ids = self._prompt_ids(request.question, request.instruction, request.history)
        return Prompted(request, prompt_ids, self._prompter.refusal(request))

    def _allowed(self, request: LoglikRequest) -> Passage | Failure:
        """Return what is read for a request, or why it cannot be."""
        passage = self._question(request) if isinstance(request, OptionsRequest) else self._passage(request)
        if isinstance(passage, Failure):
            return passage
        refusal = refuse_tokens(passage.token_ids, self._loaded.max_context, self._vocab_size)
        return refusal or passage

    def _question(self, request: OptionsRequest) -> Passage | Failure:
        """The text up to the answer; the likelihoods of all options are read at its last token."""
        found = self._questions.passage(request)
        if isinstance(found, Failure):
            return found
        token_ids, options = found
        return Passage(token_ids, (len(token_ids) - 1,) * len(options), len(token_ids), options)

    def _passage(self, request: LoglikRequest) -> Passage:
        """The whole text; the likelihood of a token is read at the token before it."""
        prefix = self._prompt_ids(request.question, request.instruction, request.history) + request.token_ids
        token_ids = prefix + tuple(t for step in request.steps for t in step)
        return Passage(token_ids, tuple(range(len(prefix) - 1, len(token_ids) - 1)), len(prefix))

    def _loglik(
        self, request: LoglikRequest, passage: Passage, reading: Reading | Failure
    ) -> Loglik | Failure:
        if isinstance(reading, Failure):
            return reading
        values = iter(reading.values.tolist())
        if isinstance(request, OptionsRequest):
            logprobs = list(values)
        else:
            logprobs = [float(sum(next(values) for _ in step)) for step in request.steps]
        num_computed = len(passage.token_ids) - reading.num_cached
        usage = Usage(
            prompt_tokens=len(passage.token_ids),
            cached_tokens=reading.num_cached,
            flops=self._flops_per_token * num_computed,
        )
        return Loglik(tuple(logprobs), usage)


def token_logprobs(logits: Tensor, following: Tensor) -> Tensor:
    """Return the log-probability ``[n]`` of each following token ``[n]`` under ``logits`` ``[n, vocab]``."""
    return torch.log_softmax(logits.double(), dim=-1).gather(-1, following[:, None])[:, 0]
