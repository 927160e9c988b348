"""A policy behind an OpenAI-compatible completions interface: a server that is already running.

With ``prompts=tokens`` (vLLM, and servers that support its ``return_token_ids``) prefixes are sent and
returned as token ids, so that nothing is tokenised twice and the server's prefix cache hits. With
``prompts=text`` (other servers) the local tokenizer translates; the server must then say whether a step ended
at its delimiter or at the end of the text, which the standard leaves open.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from actors.openai_engine.checks import Reply, prompt_logprobs
from actors.openai_engine.client import Access, Client, served_model
from actors.openai_engine.config import OpenAIEngineConfig
from actors.openai_engine.probing import INSTRUCTION, QUESTION, Prober, completion_text
from actors.openai_engine.served import longest_context, root_of
from actors.openai_engine.shared import guarded, load_tokenizer, without_key
from actors.openai_engine.text import StopNames, TextGeneration, cut_at_end, end_names, prompt_text
from actors.text.endings import ends_of_text
from actors.text.generation import End, Generation, StopRules
from actors.text.prompting import Prompter, PromptStyle
from actors.text.questions import Questions
from actors.text.stepping import Detokenizer
from actors.text.tokenising import tokenizer_digest
from actors.text.tokens import InnerTokenizer, TokenIds, refuse_request, refuse_tokens
from orchestrator.errors import ConfigError, EngineError
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
from orchestrator.steps.rule import MODES, StepEnds
from orchestrator.types import Sampling, Usage

_TOKENS_BEFORE = 512


class OpenAIEngine(EngineBase):
    """One HTTP request a row, each with its own seed; the server batches them."""

    def __init__(self, config: OpenAIEngineConfig) -> None:
        """Ask the server for the model, and load its tokenizer. Raises ConfigError."""
        access = Access.of(config)
        served = served_model(access, config.model)
        name = config.tokenizer or root_of(served) or config.model
        self._tokenizer = load_tokenizer(name)
        self._max_context = config.max_context or longest_context(served)
        self._body = {"model": config.model, **config.extra_body}
        self._as_text = config.prompts == "text"
        self._names = StopNames()
        self._logprobs = config.logprobs
        self._vocab_size = len(self._tokenizer)
        self._prompter = Prompter(self._tokenizer, PromptStyle.of(config))
        self._prompt_ids = self._prompter.token_ids
        self._ids = InnerTokenizer(self._tokenizer, special=False).ids
        self._tokenizer_digest = tokenizer_digest(self._tokenizer)
        eos_ids = ends_of_text(self._tokenizer, name, chat_options=config.chat_options)
        self._end_names = end_names(self._tokenizer, eos_ids)
        self._detokenizer = Detokenizer(self._tokenizer, self._vocab_size, eos_ids)
        self._questions = Questions(self._tokenizer, self._prompter, eos_ids)
        self._rules = lru_cache(maxsize=64)(partial(StopRules.of, self._detokenizer))
        self._client = Client(access)
        self._num_tokens = 0
        self._seeds_honoured = self._probe(access) if config.probe else None

    @property
    def info(self) -> ModelInfo:
        """Not batch-invariant: a server promises nothing about its batches."""
        return ModelInfo(
            batch_invariant=False,
            seeds_honoured=self._seeds_honoured,
            takes_history=self._prompter.takes_history,
            special=self._prompter.special,
            step_modes=("delimiter",) if self._as_text else MODES,
            tokenizer=self._tokenizer_digest,
        )

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts deviate from the tokenizer and its template."""
        return self._prompter.notes

    @property
    def progress(self) -> int:
        """Tokens that the server has generated or read for this engine."""
        return self._num_tokens

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Return one step, or with ``to_end`` all remaining ones, for each request.

        Cancelling it closes the connections, so that the server stops.
        """
        complete = self._complete_text if self._as_text else self._complete
        replies = await asyncio.gather(*(guarded(complete(r)) for r in requests))
        return [self._without_key(r, reply) for r, reply in zip(requests, replies, strict=True)]

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        """Return the likelihood of each request's steps, where the server returns those of prompts."""
        replies = await asyncio.gather(*(guarded(self._read(r)) for r in requests))
        return [
            replace(r, message=self._client.clean(r.message)) if isinstance(r, Failure) else r
            for r in replies
        ]

    async def encode(self, texts: Sequence[str]) -> list[TokenIds | Failure]:
        """Return the token ids of each text as it continues another one, by the local tokenizer."""
        return [self._ids(text) for text in texts]

    def check_options(self, key: str, asked: str, options: Sequence[str]) -> None:
        """Raise ConfigError of ``key`` where the server or the tokenizer has no such question or options."""
        if self._as_text:
            raise ConfigError("engine.prompts", "text", "must be tokens here: likelihoods need them")
        self._questions.check(key, asked, options)

    async def close(self) -> None:
        await self._client.close()

    async def _complete(self, request: GenerateRequest) -> Completion | Failure:
        prefix = self._prompt_ids(request.question, request.instruction, request.history) + request.token_ids
        if (refusal := self._refuse(request, prefix)) is not None:
            return refusal
        rules = self._rules(request.ends)
        generation = Generation.of(request, prefix, self._max_context, rules, self._detokenizer)
        while not generation.is_done:
            left, stops = generation.num_left, generation.stops
            body = self._sampling(request, left, generation.seed) | self._stops(stops)
            reply = await self._ask(generation.token_ids, body)
            token_ids, logprobs = self._tokens(reply, left)
            end = End() if reply.reason == "eos" else None
            if reply.reason == "stop":
                end = generation.end_of(token_ids, stops, reply.stops or ())
            generation.take(token_ids, logprobs, reply.num_cached, end)
        return generation.completion(0.0, has_logprobs=self._logprobs)

    def _probe(self, access: Access) -> bool | None:
        """Return whether the server honours seeds. Raises ConfigError where it gives one text for any."""
        ids = self._prompt_ids(QUESTION, INSTRUCTION)
        prompt = prompt_text(self._tokenizer, ids) if self._as_text else list(ids)
        body = {**self._body, "prompt": prompt}
        return Prober(access, "completions", body, completion_text).run().seeds_honoured

    def _stops(self, stops: Mapping[str, Any]) -> dict[str, Any]:
        given = {k: v for k, v in stops.items() if k != "detokenize"}
        return given | {"include_stop_str_in_output": True, "return_token_ids": True}

    def _tokens(self, reply: Reply, most: int) -> tuple[list[int], list[float]]:
        """Return the tokens of a stretch with their log-probabilities. Raises EngineError."""
        token_ids = reply.token_ids(most, self._vocab_size)
        logprobs = reply.logprobs(len(token_ids)) if self._logprobs else [0.0] * len(token_ids)
        if token_ids:
            return token_ids, logprobs
        if reply.reason == "length" or self._tokenizer.eos_token_id is None:
            raise EngineError("the server returned no tokens")
        # Only the end of the text, which this server leaves out.
        return [int(self._tokenizer.eos_token_id)], [0.0]

    async def _complete_text(self, request: GenerateRequest) -> Completion | Failure:
        prompt_ids = self._prompt_ids(request.question, request.instruction, request.history)
        if (refusal := self._refuse(request, prompt_ids + request.token_ids)) is not None:
            return refusal
        room = self._max_context - len(prompt_ids) - len(request.token_ids)
        generation = TextGeneration(request, self._tokenizer, min(request.params.max_tokens, room))
        prefix = prompt_text(self._tokenizer, prompt_ids + request.token_ids)
        doubted: tuple[str, list[str]] | None = None
        while not generation.is_done:
            left = generation.limit - generation.num_tokens
            stops = [] if self._names.cuts or doubted else generation.stops
            body = self._sampling(request, left, generation.seed) | ({"stop": stops} if stops else {})
            reply, is_cut = cut_at_end(await self._ask(prefix + generation.text, body), self._end_names)
            logprobs = reply.logprobs(None) if self._logprobs and not is_cut else None
            if doubted is not None:
                self._names.check(*doubted, reply.text)
            self._names.see(reply, stops)
            # Where it is not known whether a stop or the text ended it, it is retried without stops.
            is_known = generation.take(reply, logprobs, stops, trusts_none=self._names.trusts_none)
            doubted = None if is_known else (reply.text, stops)
        return generation.completion()

    def _refuse(self, request: GenerateRequest, prefix: TokenIds) -> Failure | None:
        if self._as_text and request.ends != StepEnds(request.delimiter):
            return Failure("EngineError", "engine.prompts=text: task.step.mode must be delimiter")
        if request.ends.by_expression:
            message = "a server stops at texts alone, not at expressions"
            return Failure("EngineError", f"task.step.markers={request.ends.markers!r}: {message}")
        refusal = self._prompter.refusal(request)
        return refusal or refuse_request(request, prefix, self._max_context, self._vocab_size)

    def _sampling(self, request: GenerateRequest, max_tokens: int, seed: int) -> dict[str, Any]:
        params = request.params
        assert isinstance(params, Sampling)
        logprobs = {"logprobs": 0} if self._logprobs else {}
        return {
            "max_tokens": max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": seed,
            **logprobs,
        }

    async def _ask(self, prompt: Sequence[int] | str, body: Mapping[str, Any]) -> Reply:
        size = len(prompt.encode()) if isinstance(prompt, str) else len(prompt)
        prompt = prompt if isinstance(prompt, str) else list(prompt)
        value = await self._client.post("completions", {**self._body, "prompt": prompt, **body})
        reply = Reply.of(value, body["max_tokens"], size)
        self._num_tokens += reply.num_generated
        return reply

    def _without_key(self, request: GenerateRequest, reply: Completion | Failure) -> Completion | Failure:
        if not self._client.has_key:
            return reply
        before = self._tokenizer.decode(request.token_ids[-_TOKENS_BEFORE:], skip_special_tokens=True)
        return without_key(self._client, reply, before)

    async def _read_options(self, request: OptionsRequest) -> Loglik | Failure:
        """Return the likelihoods of options, each read as the last token of a prompt of its own."""
        found = self._questions.passage(request)
        if isinstance(found, Failure):
            return found
        token_ids, options = found
        if refusal := refuse_tokens(token_ids, self._max_context - 2, self._vocab_size):
            return refusal
        read = await asyncio.gather(*(self._read_tokens((*token_ids, o), len(token_ids)) for o in options))
        usage = Usage(prompt_tokens=len(options) * (len(token_ids) + 1))
        return Loglik(tuple(values[0] for values in read), usage)

    async def _read_tokens(self, token_ids: TokenIds, first: int) -> list[float]:
        """Return the log-probability of each token from ``first`` on."""
        body = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        reply = await self._ask(token_ids, body)
        self._num_tokens += len(token_ids)
        return prompt_logprobs(reply.choice, token_ids, first)

    async def _read(self, request: LoglikRequest) -> Loglik | Failure:
        if self._as_text:
            return Failure("EngineError", "likelihoods need engine.prompts=tokens")
        if isinstance(request, OptionsRequest):
            return await self._read_options(request)
        prefix = self._prompt_ids(request.question, request.instruction, request.history) + request.token_ids
        token_ids = prefix + tuple(t for step in request.steps for t in step)
        # The server generates at least one token more.
        refusal = refuse_tokens(token_ids, self._max_context - 1, self._vocab_size)
        if refusal is not None:
            return refusal
        values = iter(await self._read_tokens(token_ids, len(prefix)))
        logprobs = tuple(math.fsum(next(values) for _ in step) for step in request.steps)
        return Loglik(logprobs, Usage(prompt_tokens=len(token_ids)))
