"""A reward model of the transformers library, computed in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from actors.batching.batcher import Batcher
from actors.batching.forward import worker_thread
from actors.text.tokens import refuse_tokens
from actors.transformers_engine.config import TransformersVerifierConfig
from actors.transformers_engine.encoding import Encoder, Passage, Reader, Reading
from actors.transformers_engine.heads import load_classifier, load_lm, num_outputs
from actors.transformers_engine.loading import Loaded, Purpose, load
from actors.transformers_engine.prefix import PrefixStore
from actors.verifiers.formats import Format, Verdict, build_format
from orchestrator.protocols import (
    Failure,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.types import Reward, Usage


class TransformersVerifier(VerifierBase):
    """Scores only new steps: keys and values of earlier steps are kept, and their rewards are locked.

    ``readout`` ``per_step`` gives a reward at the end of each new step; ``whole`` gives one reward at the end
    of the trajectory, whose steps count as one.
    """

    def __init__(self, config: TransformersVerifierConfig, *, num_threads: int | None = None) -> None:
        """Load the model, with ``num_threads`` of torch where given. Raises ConfigError."""
        self._format = build_format(config.format, config.options, config.readout)
        self._readout = config.readout
        purpose = Purpose("AutoModel", make=_loader(self._format), checks=(self._format.layout,))
        self._loaded = loaded = load(config, purpose, num_threads=num_threads)
        self._vocab_size = int(loaded.runner.model.config.get_text_config().vocab_size)
        self._layout = self._format.layout(loaded.tokenizer)
        self._layout.check_vocabulary(self._vocab_size)
        self._verdict = _verdict(self._format, loaded)
        store = PrefixStore(loaded.runner.shape, config.cache_bytes)
        encoder = Encoder(loaded.runner, store, self._project, num_outputs(loaded.runner.model))
        self._executor = worker_thread("verifier")
        self._reader = Reader(encoder)
        self._reading = Batcher(self._reader, self._executor)

    @property
    def info(self) -> ModelInfo:
        """What the model promises; batch invariance is probed at load."""
        return ModelInfo(self._loaded.batch_invariant, readout=self._readout)

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts differ from what the tokenizer and its template alone would give."""
        return self._layout.notes

    @property
    def healthy(self) -> bool:
        """False when forwards fail repeatedly: the verifier should be replaced."""
        return self._loaded.runner.healthy

    @property
    def progress(self) -> int:
        """Tokens read since the start; it grows while a call runs."""
        return self._reader.num_tokens

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards of each request's new steps, in order."""
        passages = [self._passage(r) for r in requests]
        refused = [self._refuse(p) for p in passages]
        allowed = [p for p, failure in zip(passages, refused, strict=True) if failure is None]
        readings = iter(await self._reading.submit(allowed))
        return [
            failure or self._reply(passage, next(readings))
            for passage, failure in zip(passages, refused, strict=True)
        ]

    async def close(self) -> None:
        """End the background work; requests in progress raise RuntimeError."""
        await self._reading.close()
        self._executor.shutdown()

    def _project(self, logits: Tensor, _following: Tensor) -> Tensor:
        """The rewards ``[n]`` as log-odds (``Verdict.log_odds``) from ``[n, outputs]``."""
        exact = logits.double()
        good = exact[:, list(self._verdict.good)]
        if not self._verdict.bad:
            return good[:, 0]
        return torch.logsumexp(good, -1) - torch.logsumexp(exact[:, list(self._verdict.bad)], -1)

    def _passage(self, request: ScoreRequest) -> Passage:
        rendered = self._layout.render(request.question, request.steps, request.num_locked, self._readout)
        return Passage(rendered.token_ids, rendered.reads, rendered.num_shared)

    def _refuse(self, passage: Passage) -> Failure | None:
        if not passage.token_ids:
            return Failure("VerifierError", "a trajectory of 0 steps has no reward")
        return refuse_tokens(passage.token_ids, self._loaded.max_context, self._vocab_size)

    def _reply(self, passage: Passage, reading: Reading | Failure) -> ScoreReply | Failure:
        if isinstance(reading, Failure):
            return reading
        if len(reading.values) != len(passage.reads):
            message = f"{len(passage.reads)} rewards were expected, {len(reading.values)} were read"
            return Failure("VerifierError", message)
        num_computed = len(passage.token_ids) - reading.num_cached
        usage = Usage(
            reward_tokens=num_computed,
            cached_reward_tokens=reading.num_cached,
            flops=2.0 * self._loaded.num_parameters * num_computed,
        )
        return ScoreReply(tuple(Reward(v) for v in reading.values.tolist()), usage)


def _loader(format: Format) -> Any:
    if format.head == "classifier":
        return load_classifier
    # The layout is made twice, here for its tokens: only their logits are computed.
    return partial(load_lm, lambda tokenizer: format.verdict(format.layout(tokenizer), 0))


def _verdict(format: Format, loaded: Loaded) -> Verdict:
    """Which outputs of the loaded model are read."""
    verdict = format.verdict(format.layout(loaded.tokenizer), num_outputs(loaded.runner.model))
    return verdict.narrowed() if format.head == "lm" else verdict
