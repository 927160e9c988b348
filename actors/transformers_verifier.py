"""A process reward model of the transformers library, read in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from actors.batcher import Batcher
from actors.encoding import Encoder, Passage, Reader, Reading, refuse_tokens
from actors.forward import worker_thread
from actors.loading import LoadOptions, load
from actors.prefix import PrefixStore
from actors.reward_formats import build_format
from orchestrator.errors import ConfigError
from orchestrator.protocols import Failure, ScoreReply, ScoreRequest
from orchestrator.types import Reward, Usage

READOUTS = ("per_step", "whole")


class TransformersVerifier:
    """Scores new steps only: what was read of a trajectory before is kept, and its rewards are locked.

    ``readout`` ``per_step`` gives a reward at the end of each new step; ``whole`` one for all the steps as
    a single one, read at its end.
    """

    def __init__(
        self,
        model: str,
        *,
        format: str = "token_classification",
        readout: str = "per_step",
        dtype: str = "float32",
        device: str = "auto",
        max_context: int | None = None,
        cache_bytes: int = 256 * 2**20,
        num_threads: int | None = None,
        batch_invariant: bool | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        **format_options: Any,
    ) -> None:
        """Load ``model``; ``format_options`` are the fields of the format's class. Raises ConfigError."""
        self._format = build_format(format, format_options)
        if readout not in READOUTS:
            raise ConfigError("verifier.readout", readout, f"must be one of {', '.join(READOUTS)}")
        self._readout = readout
        self._loaded = loaded = load(
            LoadOptions(
                key="verifier.model",
                model=model,
                auto_class=self._format.auto_class,
                dtype=dtype,
                device=device,
                max_context=max_context,
                num_threads=num_threads,
                batch_invariant=batch_invariant,
                revision=revision,
                trust_remote_code=trust_remote_code,
            )
        )
        self._format.check(loaded.runner.model.config)
        self._vocab_size = int(loaded.runner.model.config.vocab_size)
        self._layout = self._format.layout(loaded.tokenizer)
        store = PrefixStore(loaded.runner.shape, cache_bytes)
        encoder = Encoder(loaded.runner, store, self._project, loaded.runner.model.config.num_labels)
        self._executor = worker_thread("verifier")
        self._reader = Reader(encoder)
        self._reading = Batcher(self._reader, self._executor)

    @property
    def batch_invariant(self) -> bool:
        """Whether a reward is bitwise the same whatever shares its batch or its cache: probed at load."""
        return self._loaded.batch_invariant

    @property
    def readout(self) -> str:
        return self._readout

    @property
    def healthy(self) -> bool:
        """False once forwards fail time after time: the verifier should be replaced."""
        return self._loaded.runner.healthy

    @property
    def progress(self) -> int:
        """Tokens read since the start; it grows while a call runs."""
        return self._reader.num_tokens

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """The rewards of each request's new steps, in order."""
        passages = [self._passage(r) for r in requests]
        refused = [refuse_tokens(p.token_ids, self._loaded.max_context, self._vocab_size) for p in passages]
        allowed = [p for p, failure in zip(passages, refused, strict=True) if failure is None]
        readings = iter(await self._reading.submit(allowed))
        return [
            failure or self._reply(passage, next(readings))
            for passage, failure in zip(passages, refused, strict=True)
        ]

    async def close(self) -> None:
        """End the background work; requests under way raise RuntimeError."""
        await self._reading.close()
        self._executor.shutdown()

    def _project(self, logits: Tensor, _following: Tensor) -> Tensor:
        return self._format.log_odds(logits)

    def _passage(self, request: ScoreRequest) -> Passage:
        prompt = self._layout.prompt(request.question)
        last = len(request.steps) - 1
        token_ids, reads = prompt, []
        for index, text in enumerate(request.steps):
            token_ids += self._layout.step(text, tagged=self._readout == "per_step" or index == last)
            if index >= request.num_locked if self._readout == "per_step" else index == last:
                reads.append(len(token_ids) - 1)
        return Passage(token_ids, tuple(reads), len(prompt))

    def _reply(self, passage: Passage, reading: Reading | Failure) -> ScoreReply | Failure:
        if isinstance(reading, Failure):
            return reading
        num_computed = len(passage.token_ids) - reading.num_cached
        usage = Usage(
            reward_tokens=num_computed,
            cached_reward_tokens=reading.num_cached,
            flops=2.0 * self._loaded.num_parameters * num_computed,
        )
        assert len(reading.values) == len(passage.reads)
        return ScoreReply(tuple(Reward(v) for v in reading.values.tolist()), usage)
