"""Replicas that take their time and compute nothing, for benchmarks of what stands around them."""

from __future__ import annotations

import asyncio
import heapq
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from actors.pool.jobs import Died, Life
from actors.pool.placement import ClusterConfig, ReplicaSpec
from actors.pool.replica import Raised, ReplicaInfo
from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Method,
    ModelInfo,
    Readout,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.seeds import derive_rng
from orchestrator.types import Finish, Problem, Reward, Step, Usage

NUM_STEPS = 8
TOKENS_PER_STEP = 12
_TEXTS = [f"{i:010d}.\n" for i in range(61)]
_STEPS = [Step(text, tuple(map(ord, text)), -1.0) for text in _TEXTS]
_ANSWERS = [replace(s, text=f"={s.text}", token_ids=(*s.token_ids[1:], 0), finish=Finish.EOS) for s in _STEPS]
_REWARDS = [Reward.from_value((i + 1) / 64) for i in range(61)]
_USAGE = Usage(generated_tokens=TOKENS_PER_STEP)


@dataclass(frozen=True)
class SimulatedTask:
    """Problems of ``NUM_STEPS`` steps with nothing in them."""

    num_problems: int = 1_000_000
    delimiter: str = "\n"
    answer_marker: str | None = "="
    instruction: str = ""

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        stop = self.num_problems if limit is None else offset + limit
        return (Problem(f"p{i}", f"question {i}", "0") for i in range(offset, stop))

    def extract(self, text: str) -> str | None:
        return text.rpartition("=")[2]

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return list(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return answer == reference


@dataclass
class SimulatedModel(EngineBase, VerifierBase):
    """An engine and a verifier with ``num_slots`` rows at once; a row takes ``seconds`` times 1 to 10.

    Rows wait for a slot in the order in which they came, as in continuous batching. ``busy`` are the
    begin and the end of each row in a slot, in seconds of the event loop's clock; None keeps none.
    """

    num_slots: int
    seconds: float
    seed: int = 0
    readout: Readout = "per_step"
    busy: list[tuple[float, float]] | None = field(default_factory=list)

    def __post_init__(self) -> None:
        self._free = [0.0] * self.num_slots
        self._latencies = _latencies(self.seconds, self.seed)
        self._num_rows = 0

    async def _work(self, num_rows: int) -> None:
        """Until the last of the rows has had its time in a slot."""
        if not self.seconds:
            await asyncio.sleep(0)
            return
        now = last = asyncio.get_running_loop().time()
        for _ in range(num_rows):
            begin = max(now, self._free[0])
            end = begin + self._latencies[self._num_rows % len(self._latencies)]
            self._num_rows += 1
            heapq.heapreplace(self._free, end)
            if self.busy is not None:
                self.busy.append((begin, end))
            last = max(last, end)
        await asyncio.sleep(last - now)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, readout=self.readout)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        await self._work(len(requests))
        return [self._complete(r) for r in requests]

    def _complete(self, request: GenerateRequest) -> Completion:
        last = len(request.token_ids) >= (NUM_STEPS - 1) * TOKENS_PER_STEP
        return Completion(((_ANSWERS if last else _STEPS)[request.seed % 61],), _USAGE)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        await self._work(len(requests))
        return [ScoreReply((_REWARDS[int(r.steps[-1].strip("=.\n"))],), Usage()) for r in requests]


@cache
def _latencies(seconds: float, seed: int) -> list[float]:
    """``seconds`` times 1 to 10, evenly spread in their logarithm."""
    return [seconds * float(10.0**x) for x in derive_rng("latency", seed).random(4096)]


class SimulatedMember:
    """A replica that lives in this process, with what the fleet asks of one."""

    lost: str | None = None
    closed = False
    num_deaths = 0

    def __init__(
        self, name: str, spec: ReplicaSpec, config: ClusterConfig, on_change: Callable[[], None]
    ) -> None:
        self.name = name
        self.model: SimulatedModel = spec.factory()
        self.life: Life | None = None

    async def start(self) -> None:
        info = ReplicaInfo(os.getpid(), self.name, "here", self.model.info)
        self.life = Life(info, asyncio.get_running_loop().create_future())

    async def call(
        self, life: Life, method: Method, requests: Sequence[GenerateRequest | ScoreRequest]
    ) -> Sequence[object] | Raised | Died:
        replies: Sequence[object] = await getattr(self.model, method)(requests)
        return replies

    async def spent_on(self, life: Life, requests: Sequence[object]) -> int:
        return 0

    async def close(self) -> None:
        return None


def utilisation(models: Sequence[SimulatedModel], begin: float, end: float) -> float:
    """Slot-seconds used between ``begin`` and ``end`` over those there were."""
    used = sum(_within(model.busy or (), begin, end) for model in models)
    return used / ((end - begin) * sum(model.num_slots for model in models))


def _within(busy: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    spans: npt.NDArray[np.float64] = np.clip(np.asarray(busy, dtype=float).reshape(-1, 2), begin, end)
    return float((spans[:, 1] - spans[:, 0]).sum())
