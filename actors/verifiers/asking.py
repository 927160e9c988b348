"""What verifiers share that ask a language model through an engine of any kind."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

from orchestrator.protocols import EngineBase, ModelInfo, Readout, VerifierBase


class AskingVerifier(VerifierBase, ABC):
    """A verifier that is as invariant, as healthy and as far as the engine that it asks, and ends with it."""

    def __init__(self, engine: EngineBase, readout: Readout) -> None:
        self._engine = engine
        self._readout = readout

    @property
    def info(self) -> ModelInfo:
        """As invariant as its engine."""
        return ModelInfo(self._engine.info.batch_invariant, readout=self._readout)

    @property
    def template_notes(self) -> Mapping[str, str]:
        """What is done otherwise than the tokenizer and its template would have it."""
        return self._engine.template_notes

    @property
    def healthy(self) -> bool:
        return self._engine.healthy

    @property
    def progress(self) -> int | None:
        return self._engine.progress

    async def close(self) -> None:
        await self._engine.close()
