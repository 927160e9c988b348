"""The models of a run that loads none: what their promises were, and a failure for each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)


@dataclass(frozen=True)
class AbsentEngine(EngineBase):
    """The engine of a run that loads no model: each request is a failure."""

    promised: ModelInfo

    @property
    def info(self) -> ModelInfo:
        return self.promised

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [_ABSENT] * len(requests)

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return [_ABSENT] * len(requests)

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        return [_ABSENT] * len(texts)


@dataclass(frozen=True)
class AbsentVerifier(VerifierBase):
    """The verifier of such a run."""

    promised: ModelInfo

    @property
    def info(self) -> ModelInfo:
        return self.promised

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [_ABSENT] * len(requests)


_ABSENT = Failure("NotInCassette", "the cassette has no reply to this request, and cassette_only=true")
