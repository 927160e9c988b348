"""A run is extended: a problem's stored samples answer the requests that they once answered.

A sample's seed is its number's, so a request shows by its seed which sample it is. What a strategy requests
beyond them goes to the models.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from orchestrator.protocols import (
    Completion,
    Engine,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
    Verifier,
    VerifierBase,
)
from orchestrator.search.requests import sample_seeds
from orchestrator.storage.result_lines import in_recorded_order, overhead_of, spent, trajectory_of
from orchestrator.types import Overhead, Reward, Trajectory, Usage, total


@dataclass(frozen=True)
class Drawn:
    """The numbered samples of one problem, from 0, and what they have cost beside what they count again."""

    samples: Sequence[Trajectory] = ()
    usage: Usage = Usage()
    overhead: Overhead = Overhead()
    seconds: float = 0.0


NOTHING_DRAWN = Drawn()


def drawn_of(line: Mapping[str, Any]) -> Drawn:
    """Return the samples of a result line."""
    samples = [trajectory_of(candidate) for candidate in in_recorded_order(line)]
    again = total([_usage(s) for s in samples] or [Usage()])
    before = spent(line)
    rest = Usage(*(max(0, getattr(before, f.name) - getattr(again, f.name)) for f in fields(Usage)))
    return Drawn(samples, rest, overhead_of(line), line["seconds"])


def _usage(sample: Trajectory) -> Usage:
    return Usage(generated_tokens=sample.num_tokens, reward_calls=int(sample.reward is not None))


def with_samples(
    engine: Engine, verifier: Verifier | None, drawn: Drawn, run_seed: int, problem_id: str
) -> tuple[Engine, Verifier | None]:
    """Return models that answer with a problem's samples, and otherwise request replies of these."""
    seeds = sample_seeds(run_seed, problem_id, range(len(drawn.samples)))
    by_seed = dict(zip(seeds, drawn.samples, strict=True))
    scored = None if verifier is None else ExtendedVerifier(verifier, drawn.samples)
    return ExtendedEngine(engine, by_seed), scored


class ExtendedEngine(EngineBase):
    """An engine that has drawn some samples before, known by their seeds."""

    def __init__(self, engine: Engine, samples: Mapping[int, Trajectory]) -> None:
        self._engine = engine
        self._samples = samples

    @property
    def info(self) -> ModelInfo:
        return self._engine.info

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        new = [r for r in requests if r.seed not in self._samples]
        replies = iter(await self._engine.generate(new) if new else ())
        known = (self._samples.get(r.seed) for r in requests)
        return [next(replies) if sample is None else completion_of(sample) for sample in known]

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return await self._engine.loglik(requests)

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        return await self._engine.encode(texts)

    async def release(self, home: str) -> Overhead:
        return await self._engine.release(home)


def completion_of(sample: Trajectory) -> Completion:
    """Return the reply that a stored sample was; its rewards come from the verifier."""
    steps = tuple(replace(step, reward=None) for step in sample.steps)
    return Completion(steps, Usage(generated_tokens=sample.num_tokens))


class ExtendedVerifier(VerifierBase):
    """A verifier that has rewarded some samples before, known by their texts."""

    def __init__(self, verifier: Verifier, samples: Sequence[Trajectory]) -> None:
        self._verifier = verifier
        # Equal texts may have different rewards: in the order of the samples.
        self._rewards: dict[tuple[str, ...], deque[tuple[Reward, ...]]] = defaultdict(deque)
        for sample in samples:
            if sample.rewards:
                self._rewards[tuple(s.text for s in sample.steps)].append(sample.rewards)

    @property
    def info(self) -> ModelInfo:
        return self._verifier.info

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        known = [self._known(request) for request in requests]
        new = [r for r, rewards in zip(requests, known, strict=True) if rewards is None]
        replies = iter(await self._verifier.score(new) if new else ())
        return [next(replies) if rewards is None else ScoreReply(rewards, Usage()) for rewards in known]

    def _known(self, request: ScoreRequest) -> tuple[Reward, ...] | None:
        found = self._rewards.get(request.steps)
        return found.popleft() if found and not request.num_locked else None
