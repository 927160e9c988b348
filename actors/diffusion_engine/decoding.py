"""Denoising many paths at once: each tick runs one pass of every path, with any schedules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from actors.batching.batcher import Pending
from actors.batching.forward import ForwardError
from actors.diffusion_engine.canvas import Canvas
from actors.diffusion_engine.forward import DiffusionRunner
from actors.diffusion_engine.loading import DiffusionModel
from actors.diffusion_engine.passes import Cache, Passes, Path, num_copies
from actors.text.tokens import TokenIds, refuse_tokens
from orchestrator.protocols import Failure, GenerateRequest
from orchestrator.types import REMASKINGS, Denoising, EstimatedDenoising, Usage

DenoiseJob = Pending["Masked", "Filled"]


@dataclass(frozen=True, slots=True)
class Masked:
    """A request with the token ids of its prompt; ``refused`` where the tokenizer cannot write that."""

    request: GenerateRequest
    prompt_ids: TokenIds
    refused: Failure | None = None

    @property
    def prefix(self) -> TokenIds:
        return self.prompt_ids + self.request.token_ids


@dataclass(frozen=True, slots=True)
class Filled:
    """A complete canvas, its usage, and the estimate of its NLL where the request asks for it."""

    canvas: Canvas
    usage: Usage
    one_step_nll: float | None = None


@dataclass(eq=False, slots=True)
class _Row:
    """A job in progress, with its usage so far."""

    job: DenoiseJob
    path: Path
    usage: Usage = Usage()


@dataclass
class DenoiseStats:
    """Counters since the engine was loaded; ``committed_tokens`` grows while requests are in progress."""

    generated_tokens: int = 0
    committed_tokens: int = 0
    denoising_passes: int = 0
    forwards: int = 0


class Denoiser:
    """A worker for ``Batcher``: paths join between two passes and leave when their canvas is filled."""

    def __init__(
        self,
        runner: DiffusionRunner,
        loaded: DiffusionModel,
        *,
        cache: Cache,
        max_batch_size: int,
        delimiter_ids: frozenset[int],
    ) -> None:
        self.stats = DenoiseStats()
        self._runner = runner
        self._loaded = loaded
        self._passes = Passes(runner, loaded, cache)
        self._delimiter_ids = delimiter_ids
        self._max_batch_size = max_batch_size
        self._free = list(range(2 * max_batch_size))
        self._waiting: list[DenoiseJob] = []
        self._rows: list[_Row] = []

    @torch.inference_mode()
    def tick(self, arrived: Sequence[DenoiseJob]) -> list[DenoiseJob]:
        """Admit waiting jobs as far as there is room, and run one pass of every path."""
        self._waiting.extend(arrived)
        self._drop_cancelled()
        done = self._admit()
        for group in list(self._groups()):
            done += self._pass(group)
        return done

    def _drop_cancelled(self) -> None:
        self._waiting = [job for job in self._waiting if not job.cancelled]
        for row in [row for row in self._rows if row.job.cancelled]:
            self._leave(row)

    def _admit(self) -> list[DenoiseJob]:
        """Seat waiting jobs. Return those that are not possible."""
        refused = []
        while self._waiting and len(self._rows) < self._max_batch_size:
            job = self._waiting.pop(0)
            job.reply = self._refusal(job.request)
            if job.reply is None:
                self._rows.append(self._seat(job))
            else:
                refused.append(job)
        return refused

    def _refusal(self, masked: Masked) -> Failure | None:
        params, vocab_size = masked.request.params, self._loaded.model.config.vocab_size
        if not isinstance(params, Denoising):
            return Failure(
                "EngineError", f"a masked-diffusion engine takes Denoising, not {type(params).__name__}"
            )
        if not masked.request.to_end:
            return Failure("EngineError", "a diffusion engine fills a whole canvas: it takes no single steps")
        wrong = _wrong(params)
        if wrong:
            return Failure("EngineError", f"{params}: {wrong}")
        room = self._loaded.max_context - params.gen_length
        return masked.refused or refuse_tokens(masked.prefix, room, vocab_size)

    def _seat(self, job: DenoiseJob) -> _Row:
        params = job.request.request.params
        assert isinstance(params, Denoising)
        canvas = Canvas(params, self._loaded.layout.unmasking, self._loaded.eos_ids, self._delimiter_ids)
        num_slots = 0 if self._passes.cache == "none" else num_copies(params)
        slots = tuple(self._free.pop(0) for _ in range(num_slots))
        prefix = np.array(job.request.prefix, np.int64)
        return _Row(job, Path(prefix, canvas, job.request.request.seed, slots))

    def _groups(self) -> Iterator[list[_Row]]:
        """Groups of rows that share a forward: each row feeds more than half of what the longest feeds."""
        sizes = [(last - first, row) for row in self._rows for first, last in [self._passes.span(row.path)]]
        sizes.sort(key=lambda sized: -sized[0])
        while sizes:
            group = [row for size, row in sizes if 2 * size > sizes[0][0]]
            del sizes[: len(group)]
            yield group

    def _pass(self, rows: list[_Row]) -> list[DenoiseJob]:
        """Run one forward and commit its predictions for each row. Return the jobs that are done."""
        try:
            predictions = self._passes.run([row.path for row in rows])
        except ForwardError as error:
            return [self._fail(row, error) for row in rows]
        self.stats.forwards += 1
        done = []
        for row, prediction in zip(rows, predictions, strict=True):
            if np.isnan(prediction.logprobs).any():
                done.append(self._fail(row, ForwardError.not_finite()))
                continue
            self._count(row)
            self.stats.committed_tokens += row.path.canvas.apply(prediction)
            if row.path.canvas.is_filled:
                done.append(self._complete(row))
        return done

    def _count(self, row: _Row, span: tuple[int, int] | None = None) -> None:
        """Count what this pass computes, and what it takes from the cache."""
        first, last = span or self._passes.span(row.path)
        copies, num_prompt = row.path.num_copies, len(row.path.prefix)
        row.usage += Usage(
            prompt_tokens=copies * num_prompt,
            cached_tokens=copies * min(first, num_prompt),
            denoising_passes=copies,
            flops=2.0 * self._loaded.num_parameters * copies * (last - first),
        )
        self.stats.denoising_passes += copies

    def _complete(self, row: _Row) -> DenoiseJob:
        canvas, estimate = row.path.canvas, None
        if isinstance(canvas.params, EstimatedDenoising):
            try:
                estimate = self._passes.one_step_nll(row.path)
            except ForwardError as error:
                return self._fail(row, error)
            self._count(row, (0, row.path.length))
        num_committed = int((~canvas.is_masked).sum())
        self.stats.generated_tokens += num_committed
        self._leave(row)
        row.job.reply = Filled(canvas, row.usage + Usage(generated_tokens=num_committed), estimate)
        return row.job

    def _fail(self, row: _Row, error: ForwardError) -> DenoiseJob:
        """End a row with an error, and clear its numbers."""
        for slot in row.path.slots:
            if slot < self._runner.cache.num_slots:
                self._runner.cache.clear(slot)
        self._leave(row)
        row.job.reply = Failure(error.type, str(error))
        return row.job

    def _leave(self, row: _Row) -> None:
        self._rows.remove(row)
        self._free = sorted([*self._free, *row.path.slots])


def _wrong(params: Denoising) -> str | None:
    """What is wrong with decoding parameters, or None."""
    checks = {
        "gen_length, num_steps and block_length must be 1 or more": min(
            params.gen_length, params.num_steps, params.block_length or 1
        )
        >= 1,
        "temperature and cfg_scale must be 0 or more": params.temperature >= 0 and params.cfg_scale >= 0,
        "top_p must be in (0, 1]": params.top_p is None or 0 < params.top_p <= 1,
        f"remasking must be one of {', '.join(REMASKINGS)}": params.remasking in REMASKINGS,
        "the estimate of a canvas's NLL needs early_stop=false: it is over all positions": not (
            isinstance(params, EstimatedDenoising) and params.early_stop
        ),
    }
    return next((message for message, holds in checks.items() if not holds), None)
