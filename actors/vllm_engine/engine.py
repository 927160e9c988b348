"""A policy served by vLLM, in this process and the ones that vLLM starts."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache, partial
from typing import Any

from actors.text.generation import Generation, StopRules, logprobs_of
from actors.text.prompting import Prompter, PromptStyle
from actors.text.questions import Questions
from actors.text.stepping import Detokenizer
from actors.text.thinking import Thinking, Thought, common_end
from actors.text.tokenising import tokenizer_digest
from actors.text.tokens import InnerTokenizer, TokenIds, refuse_request, refuse_tokens
from actors.vllm_engine.config import VllmEngineConfig
from actors.vllm_engine.loading import start
from actors.vllm_engine.settings import Purpose
from actors.vllm_engine.streams import Streams
from orchestrator.errors import EngineDeadError, EngineError
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
from orchestrator.types import Finish, Overhead, Sampling, Usage

_HIGHEST_TEMPERATURE = 2.0


def _thinking(config: VllmEngineConfig, tokenizer: Any) -> Thinking | None:
    if config.thinking_budget is None:
        return None
    return Thinking(tokenizer, config.thinking_budget, config.thinking_start, config.thinking_end)


class VllmEngine(EngineBase):
    """Continuous batching by vLLM: every row is a separate request with its own seed.

    Siblings share their prefix through vLLM's cache of blocks. A reply depends on its request and seed up
    to rounding, unless ``batch_invariant`` turns on the mode in which vLLM promises more.
    """

    def __init__(self, config: VllmEngineConfig) -> None:
        """Start vLLM. Raises ConfigError, and EngineError where vLLM does not start."""
        style = PromptStyle.of(config)
        purpose = Purpose(
            fixed={"logprobs_mode": "raw_logprobs"},
            by_position=config.sampler == "stream",
            checks=(partial(Prompter, style=style),),
        )
        self._started = started = start(config, purpose)
        self.sampler = config.sampler
        runs_ahead = config.sampler == "stream" and config.lookahead
        self._streams = Streams(self._stream, config.lookahead) if runs_ahead else None
        self._logprobs = 0 if config.logprobs else None
        self._prompter = Prompter(started.tokenizer, style, started.vocab_size)
        self._prompt_ids = self._prompter.token_ids
        self._questions = Questions(started.tokenizer, self._prompter, started.eos_ids)
        self._ids = InnerTokenizer(started.tokenizer, special=False).ids
        self._tokenizer_digest = tokenizer_digest(started.tokenizer)
        self._thinking = _thinking(config, started.tokenizer)
        self._detokenizer = Detokenizer(started.tokenizer, started.vocab_size, started.eos_ids)
        self._rules = lru_cache(maxsize=64)(partial(StopRules.of, self._detokenizer))
        self._flops_per_token = 2.0 * started.num_parameters
        self._names = itertools.count()
        self._num_read = 0

    @property
    def info(self) -> ModelInfo:
        """``batch_invariant`` where vLLM's mode of that name is on."""
        return ModelInfo(
            self._started.batch_invariant,
            self.sampler,
            takes_history=self._prompter.takes_history,
            special=self._prompter.special,
            step_modes=MODES,
            tokenizer=self._tokenizer_digest,
        )

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts deviate from the tokenizer and its template."""
        return self._prompter.notes

    @property
    def healthy(self) -> bool:
        """False once vLLM's process has died: the engine must be replaced."""
        return self._started.healthy

    @property
    def progress(self) -> int:
        """Tokens generated, or read for a likelihood, since the start; it grows while a call runs."""
        return self._started.meter.generated_tokens + self._num_read

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Return one step, or with ``to_end`` all remaining ones, for each request.

        Cancelling it removes the requests from vLLM. Raises EngineDeadError.
        """
        tasks = [self._prepare(r) for r in requests]
        waiting = [t for t in tasks if isinstance(t, Generation)]
        if self._streams is not None and not any(g.request.to_end or g.is_done for g in waiting):
            errors = await self._streams.complete(waiting, self._runs_on)
        else:
            errors = await asyncio.gather(*map(self._complete, waiting))
        replies = iter([self._reply(g, error) for g, error in zip(waiting, errors, strict=True)])
        return [next(replies) if isinstance(t, Generation) else t for t in tasks]

    async def release(self, home: str) -> Overhead:
        """Stop what runs ahead for a problem that has ended; return the tokens that no reply has."""
        return Overhead(speculated_tokens=self._streams.release(home) if self._streams is not None else 0)

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        """Return the likelihood of each request's steps; vLLM reads the whole text again for it."""
        return list(await asyncio.gather(*(self._read(r) for r in requests)))

    async def encode(self, texts: Sequence[str]) -> list[TokenIds | Failure]:
        """Return the token ids of each text as it continues another one."""
        return [self._ids(text) for text in texts]

    def check_options(self, key: str, asked: str, options: Sequence[str]) -> None:
        """Raise ConfigError of ``key`` where the tokenizer has no such question, or no such options."""
        self._questions.check(key, asked, options)

    async def close(self) -> None:
        """End vLLM's processes; requests in flight raise."""
        if self._streams is not None:
            self._streams.close()
        await self._started.shut_down()

    def _prepare(self, request: GenerateRequest) -> Generation | Failure:
        prefix = self._prompt_ids(request.question, request.instruction, request.history) + request.token_ids
        return self._refusal(request, prefix) or self._generation(request, prefix)

    async def _complete(self, generation: Generation) -> EngineError | None:
        """Generate until it is done; return what failed, or None. Raises EngineDeadError."""
        try:
            while not generation.is_done:
                thought = self._thought(generation)
                if thought.forced and self._fits(generation, thought.forced):
                    await self._force(generation, thought.forced)
                else:
                    await self._stretch(generation, thought)
        except EngineDeadError:
            raise
        except EngineError as error:
            return error
        return None

    async def _stretch(self, generation: Generation, thought: Thought) -> None:
        """Generate on, as far as the request and its thought allow."""
        stops, left = generation.stops, generation.num_left
        if self._thinking is not None and not thought.has_begun:
            stops = self._thinking.stops(stops)
        stops = {**stops, "max_tokens": min(left, thought.num_left or left)}
        if generation.ends_step and generation.splitter.ends.by_expression:
            await self._watched(generation, stops)
            return
        params = self._params(generation, **stops)
        output = await self._started.answer(self._ask(generation.token_ids, params))
        (choice,) = output.outputs
        if choice.finish_reason not in ("stop", "length"):
            raise EngineError(f"vLLM ended the request: {choice.finish_reason}")
        end = None
        if choice.finish_reason == "stop" and choice.token_ids:
            end = generation.end_of(choice.token_ids, stops, (choice.stop_reason,))
        generation.take(choice.token_ids, logprobs_of(choice), output.num_cached_tokens or 0, end)

    async def _watched(self, generation: Generation, stops: Mapping[str, Any]) -> None:
        """Generate token by token until the step has ended: vLLM knows no stop that is an expression."""
        from vllm.sampling_params import RequestOutputKind

        params = self._params(generation, output_kind=RequestOutputKind.DELTA, **stops)
        num_before, num_cached = len(generation.generated), 0
        async with aclosing(self._started.answers(self._ask(generation.token_ids, params))) as outputs:
            async for output in outputs:
                (choice,) = output.outputs
                num_cached = max(num_cached, output.num_cached_tokens or 0)
                if choice.finish_reason not in (None, "stop", "length"):
                    raise EngineError(f"vLLM ended the request: {choice.finish_reason}")
                end = None
                if choice.finish_reason == "stop" and choice.token_ids:
                    end = generation.end_of(choice.token_ids, stops, (choice.stop_reason,))
                generation.add(choice.token_ids, logprobs_of(choice), end)
                if generation.is_done:
                    break
        generation.count(len(generation.generated) - num_before, num_cached, num_known=num_before)

    def _thought(self, generation: Generation) -> Thought:
        """Return how far the text may go before its thought has to end."""
        if self._thinking is None:
            return Thought(has_begun=False)
        # The part of every prompt after the question: a question may contain the markers too.
        request = generation.request
        prompt = generation.prefix[: len(generation.prefix) - len(request.token_ids)]
        shared = common_end(prompt, self._prompt_ids("?", "?" if request.instruction else ""))
        return self._thinking.thought([*shared, *request.token_ids, *generation.generated])

    def _fits(self, generation: Generation, token_ids: Sequence[int]) -> bool:
        """Return whether there is room for them and for the token that vLLM generates when it reads them."""
        return len(generation.token_ids) + len(token_ids) < self._started.max_context

    async def _force(self, generation: Generation, token_ids: Sequence[int]) -> None:
        """Append given tokens, with the log-probabilities that the model gives them."""
        logprobs = [0.0] * len(token_ids)
        if self._logprobs is not None:
            before = generation.token_ids
            logprobs = await self._read_logprobs([*before, *token_ids], len(before))
            generation.count(len(token_ids), 0, num_known=len(generation.generated))
        generation.add(token_ids, logprobs)

    def _stream(self, generation: Generation) -> AsyncGenerator[Any, None]:
        """Generate the text that follows, until it ends or fills the context."""
        from vllm.sampling_params import RequestOutputKind

        params = self._params(
            generation,
            max_tokens=generation.room - len(generation.generated),
            output_kind=RequestOutputKind.DELTA,
            **generation.rules.at_end,
        )
        return self._started.answers(self._ask(generation.token_ids, params))

    def _runs_on(self, generation: Generation) -> bool:
        """Return whether a search may request what follows a step."""
        *before, step = generation.splitter.steps
        after = "".join(s.text for s in before)
        return step.finish is Finish.STEP and not generation.request.answered_by(step.text, after)

    def _reply(self, generation: Generation, error: EngineError | None) -> Completion | Failure:
        if error is not None:
            return Failure("EngineError", str(error))
        if not all(map(math.isfinite, generation.logprobs)):
            return Failure("NonFiniteLogits", "the model's logits are not finite numbers")
        return generation.completion(self._flops_per_token, has_logprobs=self._logprobs is not None)

    def _refusal(self, request: GenerateRequest, prefix: TokenIds) -> Failure | None:
        """Return why a request cannot be served at all, or None."""
        params, known = request.params, self._started
        refusal = self._prompter.refusal(request)
        refusal = refusal or refuse_request(request, prefix, known.max_context, known.vocab_size)
        if refusal is None and isinstance(params, Sampling) and params.temperature > _HIGHEST_TEMPERATURE:
            message = (
                f"vLLM takes a temperature of at most {_HIGHEST_TEMPERATURE:g}, not {params.temperature:g}"
            )
            return Failure("EngineError", message)
        return refusal

    def _generation(self, request: GenerateRequest, prefix: TokenIds) -> Generation:
        rules = self._rules(request.ends)
        return Generation.of(request, prefix, self._started.max_context, rules, self._detokenizer)

    def _params(self, generation: Generation, **more: Any) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        given = {
            "max_tokens": generation.limit - len(generation.generated),
            "logprobs": self._logprobs,
            "output_kind": RequestOutputKind.FINAL_ONLY,
            "include_stop_str_in_output": True,
            "skip_clone": True,
            **self._randomness(generation),
            **more,
        }
        return SamplingParams(**given)

    def _randomness(self, generation: Generation) -> dict[str, Any]:
        request = generation.request
        params = request.params
        assert isinstance(params, Sampling)
        if params.temperature == 0:
            return {"temperature": 0.0}
        if self.sampler == "step" or self._started.seeds_by_position:
            seed = generation.seed if self.sampler == "step" else request.seed
            return {"temperature": params.temperature, "top_p": params.top_p, "seed": seed}
        from actors.vllm_engine.positions import Draw

        position = len(request.token_ids) + len(generation.generated)
        draw = Draw(request.seed, position, params.temperature, params.top_p)
        return {"temperature": 0.0, "extra_args": draw.extra_args()}

    def _ask(self, token_ids: Sequence[int], params: Any) -> AsyncGenerator[Any, None]:
        """Send a request; yield vLLM's outputs. A cancellation removes the request from vLLM."""
        from vllm.inputs.engine import tokens_input

        name = f"r{next(self._names)}"
        return self._started.generate(tokens_input(list(token_ids)), params, name)

    async def _read(self, request: LoglikRequest) -> Loglik | Failure:
        if isinstance(request, OptionsRequest):
            return await self._read_options(request)
        prefix = self._prompt_ids(request.question, request.instruction, request.history) + request.token_ids
        token_ids = prefix + tuple(t for step in request.steps for t in step)
        # vLLM generates at least one token more.
        refusal = refuse_tokens(token_ids, self._started.max_context - 1, self._started.vocab_size)
        if refusal is not None:
            return refusal
        try:
            values = iter(await self._read_logprobs(token_ids, len(prefix)))
        except EngineDeadError:
            raise
        except EngineError as error:
            return Failure("EngineError", str(error))
        self._num_read += len(token_ids)
        logprobs = tuple(math.fsum(next(values) for _ in step) for step in request.steps)
        flops = self._flops_per_token * len(token_ids)
        return Loglik(logprobs, Usage(prompt_tokens=len(token_ids), flops=flops))

    async def _read_options(self, request: OptionsRequest) -> Loglik | Failure:
        """Return the likelihoods of options; what vLLM's blocks hold of the prefix is not read again."""
        found = self._questions.passage(request)
        if isinstance(found, Failure):
            return found
        token_ids, options = found
        if refusal := refuse_tokens(token_ids, self._started.max_context - 1, self._started.vocab_size):
            return refusal
        try:
            logprobs, num_cached = await self._answer(token_ids, options)
        except EngineDeadError:
            raise
        except EngineError as error:
            return Failure("EngineError", str(error))
        num_read = len(token_ids) - num_cached
        self._num_read += num_read
        flops = self._flops_per_token * num_read
        return Loglik(logprobs, Usage(prompt_tokens=len(token_ids), cached_tokens=num_cached, flops=flops))

    async def _answer(
        self, token_ids: Sequence[int], options: Sequence[int]
    ) -> tuple[tuple[float, ...], int]:
        """Return the log-probability of each option as the next token, and how many tokens were cached."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprob_token_ids=list(options),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._started.answer(self._ask(token_ids, params))
        (choice,) = output.outputs
        if not choice.logprobs:
            raise EngineError(f"vLLM ended the request without an answer: {choice.finish_reason}")
        entry = choice.logprobs[0]
        return tuple(entry[token].logprob for token in options), output.num_cached_tokens or 0

    async def _read_logprobs(self, token_ids: Sequence[int], first: int) -> list[float]:
        """Read the tokens and return the log-probabilities from ``first`` on. Raises as ``answer`` does."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._started.answer(self._ask(token_ids, params))
        read = zip(token_ids[first:], output.prompt_logprobs[first:], strict=True)
        return [entry[token].logprob for token, entry in read]
