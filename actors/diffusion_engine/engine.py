"""A masked-diffusion language model, denoised in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from actors.batching.attention import PADDED
from actors.batching.batcher import Batcher
from actors.batching.forward import worker_thread
from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.diffusion_engine.decoding import Denoiser, Filled, Masked
from actors.diffusion_engine.forward import DiffusionRunner, probe
from actors.diffusion_engine.loading import load_diffusion
from actors.text.prompting import Prompter, PromptStyle
from actors.text.stepping import Detokenizer
from orchestrator.errors import ConfigError
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
)
from orchestrator.splitting import StepSplitter
from orchestrator.steps.rule import MODES
from orchestrator.types import Finish, Step


class DiffusionEngine(EngineBase):
    """Denoises canvases with any schedules in one batch; a path joins between two passes.

    With ``batch_invariant`` (float32 on a CPU) every bit of a reply depends only on its request; elsewhere
    replies to a request and seed agree up to rounding. A path's noise is a function of its seed and position.
    """

    def __init__(self, config: DiffusionEngineConfig, *, num_threads: int | None = None) -> None:
        """Load the model, with ``num_threads`` of torch where given. Raises ConfigError."""
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        style, device = PromptStyle.of(config), _device(config.device)
        invariant = _wants_invariance(config, device)
        loaded = load_diffusion(
            config,
            device=device,
            attention=PADDED if invariant else "sdpa",
            checks=(partial(Prompter, style=style),),
        )
        runner = DiffusionRunner(loaded.model, invariant=invariant, compiled=config.compile)
        vocab_size = int(loaded.model.config.vocab_size)
        self._invariant = probe(runner, vocab_size)
        self._runner, self.loaded, self.cache = runner, loaded, config.cache
        self._detokenizer = Detokenizer(loaded.tokenizer, vocab_size, loaded.eos_ids)
        self._prompter = Prompter(loaded.tokenizer, style, vocab_size)
        self._prompt_ids = self._prompter.token_ids
        self._executor = worker_thread("engine")
        self._denoiser = Denoiser(
            runner,
            loaded,
            cache=config.cache,
            max_batch_size=config.max_batch_size,
            delimiter_ids=frozenset(config.block_delimiter_ids)
            if config.block_delimiter_ids is not None
            else delimiter_ids(self._detokenizer, vocab_size, config.block_delimiters),
        )
        self._batcher = Batcher(self._denoiser, self._executor)

    @property
    def info(self) -> ModelInfo:
        """What the model promises; batch invariance is probed at load."""
        return ModelInfo(
            self._invariant,
            takes_history=self._prompter.takes_history,
            special=self._prompter.special,
            step_modes=MODES,
        )

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts differ from what the tokenizer and its template alone would give."""
        return self._prompter.notes

    @property
    def healthy(self) -> bool:
        """False when forwards fail repeatedly: the engine should be replaced."""
        return self._runner.healthy

    @property
    def progress(self) -> int:
        """Tokens committed since the start; it grows while a call runs."""
        return self._denoiser.stats.committed_tokens

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Return a filled canvas for each request (``to_end``), split into steps."""
        filled = await self.fill(requests)
        return [
            reply if isinstance(reply, Failure) else self._completion(request, reply)
            for request, reply in zip(requests, filled, strict=True)
        ]

    async def fill(self, requests: Sequence[GenerateRequest]) -> list[Filled | Failure]:
        """Return the canvases themselves, with what follows the end of text and the pass of each token."""
        return await self._batcher.submit([self._masked(r) for r in requests])

    def _masked(self, request: GenerateRequest) -> Masked:
        prompt_ids = self._prompt_ids(request.question, request.instruction, request.history)
        return Masked(request, prompt_ids, self._prompter.refusal(request))

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        """Return a Failure each: the likelihood under a masked-diffusion model has no closed form."""
        return [Failure("EngineError", "a masked-diffusion engine gives no likelihoods") for _ in requests]

    async def close(self) -> None:
        """End the background work; requests in progress raise RuntimeError."""
        await self._batcher.close()
        self._executor.shutdown()

    def stats(self) -> dict[str, int]:
        """Return counters since the start."""
        counters = self._denoiser.stats
        return {
            "generated_tokens": counters.generated_tokens,
            "denoising_passes": counters.denoising_passes,
            "forwards": counters.forwards,
        }

    def _completion(self, request: GenerateRequest, filled: Filled) -> Completion:
        """The steps of a filled canvas, up to the end of the text or the step that answers.

        ``Step.logprob`` sums log p of its tokens at the pass that committed each. The whole canvas is filled,
        so the text ends with it even without an end-of-text token.
        """
        canvas = filled.canvas
        prefix = self._prompt_ids(request.question, request.instruction, request.history) + request.token_ids
        length = min(canvas.text_length, len(canvas.tokens))
        tokens, logprobs = canvas.tokens[:length].tolist(), canvas.logprobs[:length].tolist()
        splitter = StepSplitter(request, self._detokenizer, prefix)
        for i, token in enumerate(tokens, start=1):
            looks = splitter.looks_at(i, token) or i == length
            if looks and splitter.advance(tokens[:i], logprobs, at_limit=i == length):
                break
        last = replace(_ended(splitter.steps[-1]), one_step_nll=filled.one_step_nll)
        return Completion((*splitter.steps[:-1], last), filled.usage)


def _ended(step: Step) -> Step:
    return replace(step, finish=Finish.EOS) if step.finish is Finish.LENGTH else step


def delimiter_ids(detokenizer: Detokenizer, vocab_size: int, delimiters: Sequence[str]) -> frozenset[int]:
    """Return the tokens whose text consists of delimiters only, apart from spaces."""
    wanted = [d for d in delimiters if d]
    return frozenset(
        i for i in range(vocab_size) if _is_made_of(detokenizer.text((i,), ()).strip(" "), wanted)
    )


def _is_made_of(text: str, delimiters: Sequence[str]) -> bool:
    rest = text
    for delimiter in delimiters:
        rest = rest.replace(delimiter, "")
    return bool(text) and not rest


def _device(device: str) -> str:
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _wants_invariance(config: DiffusionEngineConfig, device: str) -> bool:
    """Whether to use the batch-invariant path, which exists only for float32 on a CPU."""
    possible = device == "cpu" and config.dtype == "float32" and not config.compile
    if config.batch_invariant and not possible:
        raise ConfigError("engine.batch_invariant", True, "needs device=cpu, dtype=float32 and compile=false")
    return possible if config.batch_invariant is None else config.batch_invariant
