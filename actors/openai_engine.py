"""A policy behind an OpenAI-compatible completions interface: a server that is running already.

With ``prompts=tokens`` (vLLM, and what understands its ``return_token_ids``) prefixes travel as token ids and
come back as such, so that nothing is ever tokenised twice and the server's prefix cache hits. With
``prompts=text`` (other servers) the local tokenizer stands between; the server must then say whether a step
ended at its delimiter or at the end of the text, which the standard leaves open.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeVar

from actors.checkpoint_files import brief
from actors.encoding import refuse_tokens
from actors.openai_client import Access, Client, served_model
from actors.openai_text import TextGeneration, prompt_text
from actors.prompting import Prompter, PromptStyle
from actors.stepping import Detokenizer, StepSplitter, TokenIds
from actors.vllm_generation import Generation, StopRules
from orchestrator.errors import ConfigError, EngineError
from orchestrator.protocols import Completion, Failure, GenerateRequest, Loglik, LoglikRequest
from orchestrator.types import Sampling, Usage

Reply = TypeVar("Reply")
_NO_LIMIT = 2**31


class OpenAIEngine:
    """One HTTP request a row, each with its own seed; the server batches them."""

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        tokenizer: str | None = None,
        prompts: str = "tokens",
        template: str | None = None,
        chat: bool = False,
        system: str | None = None,
        chat_options: Mapping[str, Any] | None = None,
        logprobs: bool = True,
        max_context: int | None = None,
        api_key_env: str | None = None,
        max_concurrent: int = 256,
        requests_per_second: float | None = None,
        max_attempts: int = 6,
        max_wait_s: float = 30.0,
        request_timeout_s: float = 600.0,
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        """Ask the server for ``model``, and load ``tokenizer`` (None: of that name). Raises ConfigError."""
        access = Access(
            base_url,
            api_key_env,
            max_concurrent,
            requests_per_second,
            max_attempts,
            max_wait_s,
            request_timeout_s,
        )
        served = served_model(access, model)
        self._tokenizer = _load_tokenizer(tokenizer or str(served.get("root") or model))
        self._max_context = int(max_context or served.get("max_model_len") or _NO_LIMIT)
        self._body = {"model": model, **(extra_body or {})}
        self._as_text = prompts == "text"
        self._logprobs = logprobs
        self._vocab_size = len(self._tokenizer)
        self._prompter = Prompter(
            self._tokenizer, PromptStyle(template, chat, system, dict(chat_options or {}))
        )
        self._prompt_ids = self._prompter.token_ids
        eos_ids = frozenset(i for i in (self._tokenizer.eos_token_id,) if i is not None)
        self._detokenizer = Detokenizer(self._tokenizer, self._vocab_size, eos_ids)
        self._rules = lru_cache(maxsize=64)(partial(StopRules.of, self._detokenizer))
        self._client = Client(access)
        self._num_tokens = 0

    @property
    def batch_invariant(self) -> bool:
        """A server promises nothing of the kind."""
        return False

    @property
    def template_notes(self) -> Mapping[str, str]:
        """What is done otherwise than the tokenizer and its template would have it."""
        return self._prompter.notes

    @property
    def progress(self) -> int:
        """Tokens that the server has generated or read for us."""
        return self._num_tokens

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """One step, or with ``to_end`` all remaining ones, for each request.

        Cancelling it closes the connections, which tells the server to stop.
        """
        complete = self._complete_text if self._as_text else self._complete
        return list(await asyncio.gather(*(_guarded(complete(r)) for r in requests)))

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        """The likelihood of each request's steps, where the server tells log-probabilities of prompts."""
        return list(await asyncio.gather(*(_guarded(self._read(r)) for r in requests)))

    async def close(self) -> None:
        await self._client.close()

    async def _complete(self, request: GenerateRequest) -> Completion | Failure:
        prefix = self._prompt_ids(request.question, request.instruction) + request.token_ids
        if (refusal := self._refusal(request, prefix)) is not None:
            return refusal
        splitter = StepSplitter(request, self._detokenizer, prefix)
        room = self._max_context - len(prefix)
        generation = Generation(request, prefix, room, self._rules(request.delimiter), splitter)
        while not generation.is_done:
            left = generation.limit - len(generation.generated)
            body = self._sampling(request, left, generation.seed) | self._stops(generation)
            reply = await self._ask(generation.token_ids, body)
            choice = _choice(reply)
            token_ids = choice.get("token_ids")
            if not token_ids:
                raise EngineError("the server returned no token_ids: set engine.prompts=text")
            logprobs = self._token_logprobs(choice, len(token_ids))
            generation.take(token_ids, logprobs, _cached_tokens(reply))
        return generation.completion(0.0, has_logprobs=self._logprobs)

    def _stops(self, generation: Generation) -> dict[str, Any]:
        stops = {k: v for k, v in generation.stops.items() if k != "detokenize"}
        return stops | {"include_stop_str_in_output": True, "return_token_ids": True}

    async def _complete_text(self, request: GenerateRequest) -> Completion | Failure:
        prompt_ids = self._prompt_ids(request.question, request.instruction)
        if (refusal := self._refusal(request, prompt_ids + request.token_ids)) is not None:
            return refusal
        generation = TextGeneration(request, self._tokenizer)
        prefix = prompt_text(self._tokenizer, prompt_ids + request.token_ids)
        while not generation.is_done:
            left = request.params.max_tokens - generation.num_tokens
            body = self._sampling(request, left, generation.seed) | {"stop": generation.stops}
            reply = await self._ask(prefix + generation.text, body)
            choice = _choice(reply)
            num_tokens = int(reply["usage"]["completion_tokens"])
            logprobs = self._token_logprobs(choice, None) if self._logprobs else None
            generation.take(choice, num_tokens, logprobs, reply["usage"], _cached_tokens(reply))
        return generation.completion()

    def _refusal(self, request: GenerateRequest, prefix: TokenIds) -> Failure | None:
        """Why a request cannot be done at all, or None."""
        params = request.params
        if not isinstance(params, Sampling):
            message = f"an autoregressive engine takes Sampling, not {type(params).__name__}"
            return Failure("EngineError", message)
        if params.max_tokens < 1 or not params.temperature >= 0 or not 0 < params.top_p <= 1:
            return Failure("EngineError", f"{params}: max_tokens >= 1, temperature >= 0, 0 < top_p <= 1")
        if not request.delimiter:
            return Failure("EngineError", "the step delimiter is empty")
        return refuse_tokens(prefix, self._max_context - 1, self._vocab_size)

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

    async def _ask(self, prompt: Sequence[int] | str, body: Mapping[str, Any]) -> dict[str, Any]:
        prompt = prompt if isinstance(prompt, str) else list(prompt)
        reply = await self._client.post("completions", {**self._body, "prompt": prompt, **body})
        usage = reply.get("usage")
        if not isinstance(usage, dict) or "completion_tokens" not in usage:
            raise EngineError("the server's reply holds no usage")
        self._num_tokens += int(usage["completion_tokens"])
        return reply

    def _token_logprobs(self, choice: Mapping[str, Any], num_tokens: int | None) -> list[float]:
        """Of each generated token; 0 where they were not asked for."""
        if not self._logprobs:
            return [0.0] * (num_tokens or 0)
        values = (choice.get("logprobs") or {}).get("token_logprobs")
        if values is None or (num_tokens is not None and len(values) != num_tokens):
            told = "no" if values is None else f"{len(values)}"
            message = f"the server returned {told} log-probabilities: set engine.logprobs=false to do without"
            raise EngineError(message)
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
            raise EngineError("the server's log-probabilities are not finite numbers")
        return [float(v) for v in values]

    async def _read(self, request: LoglikRequest) -> Loglik | Failure:
        if self._as_text:
            return Failure("EngineError", "likelihoods need engine.prompts=tokens")
        prefix = self._prompt_ids(request.question, request.instruction) + request.token_ids
        token_ids = prefix + tuple(t for step in request.steps for t in step)
        # The server generates at least one token more.
        refusal = refuse_tokens(token_ids, self._max_context - 1, self._vocab_size)
        if refusal is not None:
            return refusal
        body = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        told = _choice(await self._ask(token_ids, body)).get("prompt_logprobs")
        if told is None or len(told) != len(token_ids):
            count = "none" if told is None else f"{len(told)}"
            message = f"{len(token_ids)} tokens of a prompt got {count} of the log-probabilities asked for"
            return Failure(
                "EngineError", f"{message} (prompt_logprobs): the server must offer them, as vLLM's does"
            )
        self._num_tokens += len(token_ids)
        read = zip(token_ids[len(prefix) :], told[len(prefix) :], strict=True)
        values = iter([float(entry[str(token)]["logprob"]) for token, entry in read])
        logprobs = tuple(math.fsum(next(values) for _ in step) for step in request.steps)
        return Loglik(logprobs, Usage(prompt_tokens=len(token_ids)))


async def _guarded(work: Coroutine[Any, Any, Reply | Failure]) -> Reply | Failure:
    """A request that the server refuses, or fails at time after time, fails alone."""
    try:
        return await work
    except EngineError as error:
        return Failure("EngineError", str(error))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        return Failure("EngineError", f"the server's reply is not as it should be: {error!r}")


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice. Raises EngineError where there is another number, or it ended otherwise than it may."""
    choices = reply.get("choices") or []
    if len(choices) != 1:
        raise EngineError(f"1 completion was asked for, the server returned {len(choices)}")
    reason = choices[0].get("finish_reason")
    if reason not in ("stop", "length"):
        raise EngineError(f"the server ended the request: {reason}")
    choice: Mapping[str, Any] = choices[0]
    return choice


def _cached_tokens(reply: Mapping[str, Any]) -> int:
    """Of the prompt, where the server tells (vLLM: --enable-prompt-tokens-details)."""
    details = reply.get("usage", {}).get("prompt_tokens_details") or {}
    return int(details.get("cached_tokens") or 0)


def _load_tokenizer(name: str) -> Any:
    import transformers

    from actors.loading import resolve_model

    try:
        return transformers.AutoTokenizer.from_pretrained(resolve_model(name))
    except Exception as error:  # whatever a stranger's files make the libraries raise
        allowed = f"must name the tokenizer of the model that is served: {brief(error)}"
        raise ConfigError("engine.tokenizer", name, allowed) from error
