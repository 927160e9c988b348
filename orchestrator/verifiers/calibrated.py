"""A verifier whose rewards are mapped by a calibration: it wraps any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.allocation.calibration import Calibration
from orchestrator.protocols import Failure, ModelInfo, ScoreReply, ScoreRequest, Verifier, VerifierBase
from orchestrator.types import Reward


@dataclass(frozen=True, slots=True)
class CalibratedVerifier(VerifierBase):
    """The rewards of ``inner``, each mapped by the calibration of its step."""

    inner: Verifier
    calibration: Calibration

    @property
    def info(self) -> ModelInfo:
        return self.inner.info

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        replies = await self.inner.score(requests)
        return [
            reply if isinstance(reply, Failure) else self._mapped(request, reply)
            for request, reply in zip(requests, replies, strict=True)
        ]

    def _mapped(self, request: ScoreRequest, reply: ScoreReply) -> ScoreReply:
        is_whole = self.info.readout == "whole"
        first = len(request.steps) - 1 if is_whole else request.num_locked
        mapped = (
            Reward(float(self.calibration.of_step(i)(reward.log_odds)))
            for i, reward in enumerate(reply.rewards, first)
        )
        return replace(reply, rewards=tuple(mapped))

    async def close(self) -> None:
        await self.inner.close()


def calibrated(verifier: Verifier | None, calibration: Calibration | None) -> Verifier | None:
    """Return the verifier with its rewards mapped; unchanged without a calibration."""
    if verifier is None or calibration is None:
        return verifier
    return CalibratedVerifier(verifier, calibration)
