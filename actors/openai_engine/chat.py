"""A policy behind a chat interface (``engine.api=chat``), which makes whole answers and continues none.

The server renders the messages itself, so no prompt is tokenised here. Rows that differ in their seed alone
are one request with ``n``, where the server takes it: its seed is that of the first row. (vLLM adds the
number of an answer to the seed, so the first n of N answers are those of a request for n.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from actors.openai_engine.answers import completion_of
from actors.openai_engine.client import Access, Client, served_model
from actors.openai_engine.config import OpenAIEngineConfig
from actors.openai_engine.messages import ChatReply, Message
from actors.openai_engine.probing import INSTRUCTION, QUESTION, Probed, Prober, message_text
from actors.openai_engine.replies import Refused
from actors.openai_engine.shared import guarded, load_tokenizer, without_key
from actors.text.tokens import InnerTokenizer
from orchestrator.protocols import Completion, EngineBase, Failure, GenerateRequest, ModelInfo
from orchestrator.steps.rule import MODES
from orchestrator.types import Sampling, Turn

# What OpenAI allows in one request.
_MOST_ANSWERS = 128
_LIMIT, _NEW_LIMIT = "max_tokens", "max_completion_tokens"


class ChatEngine(EngineBase):
    """One HTTP request for all rows of a call with the same question and parameters, or one a row."""

    def __init__(self, config: OpenAIEngineConfig) -> None:
        """Ask the server for the model, and what it honours. Raises ConfigError."""
        access = Access.of(config)
        served_model(access, config.model)
        self._style = config.style()
        self._ids = None if config.tokenizer is None else InnerTokenizer(load_tokenizer(config.tokenizer)).ids
        options = {"chat_template_kwargs": dict(config.chat_options)} if config.chat_options else {}
        self._body = {"model": config.model, **options, **config.extra_body}
        self._logprobs = config.logprobs
        self._limit = _LIMIT
        self._probed = self._probe(access) if config.probe else Probed()
        found = _MOST_ANSWERS if self._probed.takes_many else 1
        self._max_n = found if config.max_n is None else config.max_n
        self._client = Client(access)
        self._num_tokens = 0

    @property
    def info(self) -> ModelInfo:
        """Not batch-invariant: a server promises nothing about its batches."""
        return ModelInfo(
            batch_invariant=False,
            takes_history=True,
            seeds_honoured=self._probed.seeds_honoured,
            step_modes=MODES,
        )

    @property
    def progress(self) -> int:
        """Tokens that the server has generated for this engine."""
        return self._num_tokens

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Return a whole answer for each request. Cancelling it closes the connections."""
        rows = [rows for group in _groups(requests) for rows in _batched(group, self._max_n)]
        replies = await asyncio.gather(*(self._answer([requests[i] for i in each]) for each in rows))
        found = dict(zip(chain(*rows), chain(*replies), strict=True))
        return [without_key(self._client, found[i]) for i in range(len(requests))]

    async def close(self) -> None:
        await self._client.close()

    def _probe(self, access: Access) -> Probed:
        body = {**self._body, "messages": self._messages(QUESTION, INSTRUCTION)}
        return Prober(access, "chat/completions", body, message_text).run(many=True)

    async def _answer(self, requests: Sequence[GenerateRequest]) -> Sequence[Completion | Failure]:
        """Return the answers to requests that differ in their seed alone."""
        refusal = _refuse(requests[0])
        reply = await guarded(self._ask(requests)) if refusal is None else refusal
        if isinstance(reply, Failure):
            return [reply] * len(requests)
        counts = reply.counts(requests[0].params.max_tokens)
        # The server reads the prompt once for all of them.
        prompts = [(reply.num_prompt, reply.num_cached)] + [(0, 0)] * (len(requests) - 1)
        parts = zip(requests, reply.messages, counts, prompts, strict=True)
        return [await guarded(self._completion(*each)) for each in parts]

    async def _completion(
        self, request: GenerateRequest, message: Message, num_tokens: int, prompt: tuple[int, int]
    ) -> Completion:
        return completion_of(request, message, num_tokens, prompt, ids=self._ids)

    async def _ask(self, requests: Sequence[GenerateRequest]) -> ChatReply:
        body, n, most = self._request(requests), len(requests), requests[0].params.max_tokens
        try:
            value = await self._client.post("chat/completions", {**body, self._limit: most})
        except Refused as error:
            # Newer models of OpenAI take the limit under its new name alone.
            if self._limit == _NEW_LIMIT or _NEW_LIMIT not in str(error):
                raise
            self._limit = _NEW_LIMIT
            value = await self._client.post("chat/completions", {**body, self._limit: most})
        num_bytes = sum(len(message["content"].encode()) for message in body["messages"])
        reply = ChatReply.of(value, n, most, num_bytes, logprobs=self._logprobs)
        self._num_tokens += reply.num_generated
        return reply

    def _request(self, requests: Sequence[GenerateRequest]) -> dict[str, Any]:
        first, n = requests[0], len(requests)
        params = first.params
        assert isinstance(params, Sampling)
        return {
            **self._body,
            "messages": self._messages(first.question, first.instruction, first.history),
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": first.seed,
            **({"n": n} if n > 1 else {}),
            **({"logprobs": True} if self._logprobs else {}),
        }

    def _messages(
        self, question: str, instruction: str, history: Sequence[Turn] = ()
    ) -> list[dict[str, str]]:
        system, earlier, user = self._style.turns(question, instruction, history)
        turns = (*([Turn("system", system)] if system else ()), *earlier, Turn("user", user))
        return [{"role": turn.role, "content": turn.text} for turn in turns]


def _groups(requests: Sequence[GenerateRequest]) -> list[list[int]]:
    """Return the rows of requests that differ in their seed alone, in their order."""
    groups: dict[GenerateRequest, list[int]] = {}
    for i, request in enumerate(requests):
        groups.setdefault(replace(request, seed=0), []).append(i)
    return list(groups.values())


def _batched(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


def _refuse(request: GenerateRequest) -> Failure | None:
    """Return the Failure where a chat cannot do what is requested, or None."""
    params = request.params
    if not isinstance(params, Sampling):
        message = f"an autoregressive engine takes Sampling, not {type(params).__name__}"
        return Failure("EngineError", message)
    if params.max_tokens < 1 or not params.temperature >= 0 or not 0 < params.top_p <= 1:
        return Failure("EngineError", f"{params}: max_tokens >= 1, temperature >= 0, 0 < top_p <= 1")
    if not request.delimiter:
        return Failure("EngineError", "the step delimiter is empty")
    if request.token_ids or not request.to_end:
        message = "engine.api=chat makes whole answers alone: it continues no text and ends at no step"
        return Failure("EngineError", message)
    return None
