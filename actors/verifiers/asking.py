"""What verifiers that ask a language model through an engine have in common."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping

from orchestrator.protocols import EngineBase, ModelInfo, Readout, VerifierBase


class AskingVerifier(VerifierBase, ABC):
    """A verifier whose invariance, health and progress are those of its engine, which it closes."""

    def __init__(self, engine: EngineBase, readout: Readout) -> None:
        self._engine = engine
        self._readout = readout

    @property
    def info(self) -> ModelInfo:
        """What the model promises: the batch invariance of its engine."""
        return ModelInfo(self._engine.info.batch_invariant, readout=self._readout)

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts differ from what the tokenizer and its template alone would give."""
        return self._engine.template_notes

    @property
    def healthy(self) -> bool:
        return self._engine.healthy

    @property
    def progress(self) -> int | None:
        return self._engine.progress

    async def close(self) -> None:
        await self._engine.close()
