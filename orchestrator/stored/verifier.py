"""``verifier=stored``: repeats the rewards of a finished run or an import, found by the steps' texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.backend import Backend, LocalVerifier
from orchestrator.protocols import (
    Failure,
    ModelInfo,
    Readout,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
    VerifierBase,
)
from orchestrator.schema import NotEmpty, checked
from orchestrator.stored.samples import StoredProblem, StoredRun, read_stored
from orchestrator.types import Reward, Usage

_Rewards = Mapping[tuple[str, ...], tuple[Reward, ...]]


@dataclass(frozen=True)
@checked("verifier")
class StoredVerifierConfig(LocalVerifier):
    """The keys of ``conf/verifier/stored.yaml``: a run directory, and the read-out of its verifier."""

    path: NotEmpty
    readout: Readout = "per_step"

    def open(self, backend: Backend, task: Task, references: Mapping[str, str]) -> Verifier:
        """Read the rewards. Raises ConfigError."""
        return RewardVerifier(read_stored(self.path, "verifier.path"), self.readout)


@dataclass(frozen=True)
class RewardVerifier(VerifierBase):
    """A verifier that knows the rewards of stored samples alone; of equal texts, those of the first."""

    run: StoredRun
    readout: Readout = "per_step"
    _rewards: dict[str, _Rewards] = field(default_factory=dict, init=False, repr=False)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, readout=self.readout)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: ScoreRequest) -> ScoreReply | Failure:
        stored = self.run.find(request.problem_id, request.question)
        if stored is None:
            return Failure("NotStored", f"the stored run has no problem {request.problem_id}")
        if request.problem_id not in self._rewards:
            self._rewards[request.problem_id] = _rewards_of(stored)
        found = self._rewards[request.problem_id].get(request.steps, ())
        new = found[-1:] if self.readout == "whole" else found[request.num_locked :]
        if not new:
            return Failure("NotStored", "the stored run has no reward for this sample")
        return ScoreReply(new, Usage())


def _rewards_of(stored: StoredProblem) -> _Rewards:
    """Return the rewards by the texts of the steps."""
    return {tuple(s.text for s in t.steps): t.rewards for t in reversed(stored.samples) if t.rewards}
