"""A policy served by vLLM, in this process and the ones that vLLM starts for itself."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from actors.encoding import refuse_tokens
from actors.prompting import Prompter, PromptStyle
from actors.stepping import Detokenizer, StepSplitter, TokenIds
from actors.vllm_generation import Generation, StopRules
from actors.vllm_loading import start
from actors.vllm_settings import VllmOptions
from orchestrator.errors import EngineDeadError, EngineError
from orchestrator.protocols import Completion, Failure, GenerateRequest, Loglik, LoglikRequest
from orchestrator.types import Sampling, Usage

_HIGHEST_TEMPERATURE = 2.0


class VllmEngine:
    """Continuous batching by vLLM: every request is one of its own, with its own seed.

    Siblings share their prefix through vLLM's cache of blocks. A reply depends on its request and seed up
    to rounding, unless ``batch_invariant`` turns on the mode in which vLLM promises more.
    """

    def __init__(
        self,
        model: str,
        *,
        template: str | None = None,
        chat: bool = False,
        system: str | None = None,
        chat_options: Mapping[str, Any] | None = None,
        thinking_budget: int | None = None,
        thinking_start: str = "<think>",
        thinking_end: str = "</think>",
        logprobs: bool = True,
        dtype: str = "auto",
        max_context: int | None = None,
        batch_invariant: bool = False,
        revision: str | None = None,
        trust_remote_code: bool = False,
        args: Mapping[str, Any] | None = None,
    ) -> None:
        """Start vLLM on ``model``: a folder, a name on the hub, or ``embedded:NAME``.

        ``template``, ``chat``, ``system`` and ``chat_options`` render prompts as ``PromptStyle`` says. A
        trajectory that thinks for more than ``thinking_budget`` tokens after ``thinking_start`` is made to
        go on with ``thinking_end``. Without ``logprobs`` steps have none. Raises ConfigError, and
        EngineError where vLLM does not start.
        """
        style = PromptStyle(template, chat, system, dict(chat_options or {}))
        fixed: dict[str, Any] = {"logprobs_mode": "raw_logprobs"}
        if thinking_budget is not None:
            fixed["reasoning_config"] = {
                "reasoning_start_str": thinking_start,
                "reasoning_end_str": thinking_end,
            }
        self._started = started = start(
            VllmOptions(
                group="engine",
                model=model,
                dtype=dtype,
                max_context=max_context,
                revision=revision,
                trust_remote_code=trust_remote_code,
                batch_invariant=batch_invariant,
                args=args or {},
                fixed=fixed,
            )
        )
        self._thinking_budget = thinking_budget
        self._logprobs = 0 if logprobs else None
        self._prompt_ids = Prompter(started.tokenizer, style).token_ids
        self._detokenizer = Detokenizer(started.tokenizer, started.vocab_size, started.eos_ids)
        self._rules = lru_cache(maxsize=64)(partial(StopRules.of, self._detokenizer))
        self._flops_per_token = 2.0 * started.num_parameters
        self._names = itertools.count()
        self._num_read = 0

    @property
    def batch_invariant(self) -> bool:
        """Whether vLLM's batch-invariant mode is on."""
        return self._started.batch_invariant

    @property
    def healthy(self) -> bool:
        """False once vLLM's own process has died: the engine must be replaced."""
        return self._started.healthy

    @property
    def progress(self) -> int:
        """Tokens generated, or read for a likelihood, since the start; it grows while a call runs."""
        return self._started.meter.generated_tokens + self._num_read

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """One step, or with ``to_end`` all remaining ones, for each request.

        Cancelling it takes the requests out of vLLM. Raises EngineDeadError.
        """
        return list(await asyncio.gather(*(self._complete(r) for r in requests)))

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        """The likelihood of each request's steps; vLLM reads the whole text anew for it."""
        return list(await asyncio.gather(*(self._read(r) for r in requests)))

    async def close(self) -> None:
        """End vLLM's processes; requests under way raise."""
        await self._started.shut_down()

    async def _complete(self, request: GenerateRequest) -> Completion | Failure:
        prompt_ids = self._prompt_ids(request.question, request.instruction)
        refusal = self._refusal(request, prompt_ids + request.token_ids)
        if refusal is not None:
            return refusal
        generation = self._generation(request, prompt_ids + request.token_ids)
        while not generation.is_done:
            try:
                output = await self._ask(generation.token_ids, self._params(generation))
            except EngineDeadError:
                raise
            except EngineError as error:
                return Failure("EngineError", str(error))
            (choice,) = output.outputs
            if choice.finish_reason not in ("stop", "length"):
                return Failure("EngineError", f"vLLM ended the request: {choice.finish_reason}")
            generation.take(choice.token_ids, _logprobs_of(choice), output.num_cached_tokens or 0)
        if not all(map(math.isfinite, generation.logprobs)):
            return Failure("NonFiniteLogits", "the model's logits are not finite numbers")
        return generation.completion(self._flops_per_token, has_logprobs=self._logprobs is not None)

    def _refusal(self, request: GenerateRequest, prefix: TokenIds) -> Failure | None:
        """Why a request cannot be done at all, or None."""
        params = request.params
        if not isinstance(params, Sampling):
            message = f"an autoregressive engine takes Sampling, not {type(params).__name__}"
            return Failure("EngineError", message)
        if params.max_tokens < 1 or not params.temperature >= 0 or not 0 < params.top_p <= 1:
            return Failure("EngineError", f"{params}: max_tokens >= 1, temperature >= 0, 0 < top_p <= 1")
        if params.temperature > _HIGHEST_TEMPERATURE:
            message = (
                f"vLLM takes a temperature of {_HIGHEST_TEMPERATURE:g} at most, not {params.temperature:g}"
            )
            return Failure("EngineError", message)
        if not request.delimiter:
            return Failure("EngineError", "the step delimiter is empty")
        return refuse_tokens(prefix, self._started.max_context - 1, self._started.vocab_size)

    def _generation(self, request: GenerateRequest, prefix: TokenIds) -> Generation:
        return Generation(
            request=request,
            prefix=prefix,
            room=self._started.max_context - len(prefix),
            rules=self._rules(request.delimiter),
            splitter=StepSplitter(request, self._detokenizer, prefix),
        )

    def _params(self, generation: Generation) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        request = generation.request
        assert isinstance(request.params, Sampling)
        return SamplingParams(
            temperature=request.params.temperature,
            top_p=request.params.top_p,
            seed=generation.seed if request.params.temperature > 0 else None,
            max_tokens=generation.limit - len(generation.generated),
            logprobs=self._logprobs,
            thinking_token_budget=self._thinking_budget,
            output_kind=RequestOutputKind.FINAL_ONLY,
            include_stop_str_in_output=True,
            skip_clone=True,
            **generation.stops,
        )

    async def _ask(self, token_ids: Sequence[int], params: Any) -> Any:
        """vLLM's one, final answer. A cancelled caller takes the request out of vLLM."""
        from vllm.inputs.engine import tokens_input

        name = f"r{next(self._names)}"
        prompt = tokens_input(list(token_ids))
        return await self._started.answer(self._started.llm.generate(prompt, params, name))

    async def _read(self, request: LoglikRequest) -> Loglik | Failure:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        prefix = self._prompt_ids(request.question, request.instruction) + request.token_ids
        token_ids = prefix + tuple(t for step in request.steps for t in step)
        # vLLM generates at least one token more.
        refusal = refuse_tokens(token_ids, self._started.max_context - 1, self._started.vocab_size)
        if refusal is not None:
            return refusal
        params = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            output = await self._ask(token_ids, params)
        except EngineDeadError:
            raise
        except EngineError as error:
            return Failure("EngineError", str(error))
        self._num_read += len(token_ids)
        read = zip(token_ids[len(prefix) :], output.prompt_logprobs[len(prefix) :], strict=True)
        values = iter([entry[token].logprob for token, entry in read])
        logprobs = tuple(math.fsum(next(values) for _ in step) for step in request.steps)
        flops = self._flops_per_token * len(token_ids)
        return Loglik(logprobs, Usage(prompt_tokens=len(token_ids), flops=flops))


def _logprobs_of(choice: Any) -> list[float]:
    """Of each token under the model at temperature 1; 0 where they were not asked for."""
    if choice.logprobs is None:
        return [0.0] * len(choice.token_ids)
    return [entry[token].logprob for token, entry in zip(choice.token_ids, choice.logprobs, strict=True)]
