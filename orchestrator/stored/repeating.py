"""Candidates of results.jsonl as trajectories, and as an engine and a verifier that repeat them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    Readout,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.types import Reward, Step, Trajectory, Usage

NEEDED = ("finished", "logprob", "step_lengths", "step_log_odds")
_ABSENT = Failure("NotStored", "the run has drawn no sample for this request")


@dataclass
class StoredEngine(EngineBase):
    """Answers the requests of one problem with its stored samples, one after another."""

    samples: Sequence[Trajectory]
    _num_given: int = field(default=0, init=False)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        start = self._num_given
        self._num_given += len(requests)
        given: list[Completion | Failure] = [completion_of(t) for t in self.samples[start : self._num_given]]
        return given + [_ABSENT] * (len(requests) - len(given))

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return [_ABSENT] * len(requests)


def completion_of(sample: Trajectory) -> Completion:
    """Return what an engine returns for a stored sample: its steps without rewards."""
    steps = tuple(
        Step(s.text, s.token_ids, s.logprob, None, s.finish) for s in sample.steps
    )  # a reward comes from the verifier
    return Completion(steps, Usage(generated_tokens=sample.num_tokens))


class StoredVerifier(VerifierBase):
    """Repeats the stored rewards of one problem's samples, found by their texts."""

    def __init__(self, samples: Sequence[Trajectory], readout: Readout) -> None:
        self._readout = readout
        # Equal texts may have different rewards: in the order of the samples.
        self._rewards: dict[tuple[str, ...], deque[list[Reward]]] = defaultdict(deque)
        for sample in samples:
            if sample.rewards:
                self._rewards[tuple(s.text for s in sample.steps)].append(list(sample.rewards))

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, readout=self._readout)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: ScoreRequest) -> ScoreReply | Failure:
        found = self._rewards[request.steps]
        if not found:
            return Failure("NotStored", "the run has no reward for this sample")
        return ScoreReply(tuple(found.popleft()), Usage())
