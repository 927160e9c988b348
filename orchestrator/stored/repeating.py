"""Candidates of results.jsonl as trajectories, and as an engine and a verifier that repeat them."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

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
    """Answers the requests of one problem with its stored samples, each known by the seed of its number.

    A sample is continued from any of its steps, as by an engine that samples by position.
    """

    samples: Mapping[int, Trajectory]

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, sampler="stream")

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: GenerateRequest) -> Completion | Failure:
        sample = self.samples.get(request.seed)
        if sample is None:
            return _ABSENT
        ends = accumulate((len(s.token_ids) for s in sample.steps), initial=0)
        begun = next((i for i, end in enumerate(ends) if end == len(request.token_ids)), len(sample.steps))
        steps = sample.steps[begun:] if request.to_end else sample.steps[begun : begun + 1]
        return _completion(steps) if steps else _ABSENT

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return [_ABSENT] * len(requests)


def completion_of(sample: Trajectory) -> Completion:
    """Return what an engine returns for a stored sample: its steps without rewards."""
    return _completion(sample.steps)


def _completion(steps: Sequence[Step]) -> Completion:
    given = tuple(replace(step, reward=None) for step in steps)  # a reward comes from the verifier
    return Completion(given, Usage(generated_tokens=sum(len(s.token_ids) for s in steps)))


class StoredVerifier(VerifierBase):
    """Repeats the stored rewards of one problem's samples, found by their texts."""

    def __init__(self, samples: Iterable[Trajectory], readout: Readout) -> None:
        self._readout = readout
        # Equal texts may have different rewards: in the order of the samples.
        self._rewards: dict[tuple[str, ...], deque[list[Reward]]] = defaultdict(deque)
        self._begun: dict[tuple[str, ...], list[Reward]] = {}
        for sample in samples:
            if sample.rewards:
                self._add(tuple(s.text for s in sample.steps), list(sample.rewards))

    def _add(self, texts: tuple[str, ...], rewards: list[Reward]) -> None:
        self._rewards[texts].append(rewards)
        if self._readout == "per_step":
            for i in range(1, len(texts)):
                self._begun.setdefault(texts[:i], rewards[:i])

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, readout=self._readout)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: ScoreRequest) -> ScoreReply | Failure:
        whole = self._rewards.get(request.steps)
        rewards = whole.popleft() if whole else self._begun.get(request.steps)
        if rewards is None:
            return Failure("NotStored", "the run has no reward for this sample")
        return ScoreReply(tuple(rewards[request.num_locked :]), Usage())
