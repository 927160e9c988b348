"""``engine=stored``: serves the samples of a finished run or an import, so that no model generates.

A sample is chosen by the seed of its request, which names its number: the engine derives the seeds of a
strategy of independent samples, as ``Session.generate`` does, and finds the request's among them. A reply
thus depends on its request alone, whatever the replicas, the order of arrival and the retries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from orchestrator.protocols import Completion, EngineBase, Failure, GenerateRequest, ModelInfo, WholeOnly
from orchestrator.schema import CountOrZero, NotEmpty, checked
from orchestrator.seeds import derive_seeds
from orchestrator.storage.plain_files import open_to_read
from orchestrator.storage.run_files import RESULTS
from orchestrator.stored.repeating import completion_of
from orchestrator.stored.samples import StoredRun, read_stored
from orchestrator.types import Overhead, Sampling

_WHOLE = "engine=stored serves whole samples: a strategy that continues prefixes needs another engine"


@dataclass(frozen=True)
@checked("engine")
class StoredEngineConfig:
    """The keys of ``conf/engine/stored.yaml``.

    ``path`` is a run directory; ``seed`` and ``wave_size`` are those of the run that requests the samples.
    """

    takes: ClassVar[type[Sampling]] = Sampling
    whole_because: ClassVar[WholeOnly] = WholeOnly("engine", "stored", independent=True)

    path: NotEmpty
    seed: CountOrZero = 0
    wave_size: CountOrZero = 0

    def build(self) -> SampleEngine:
        """Read the samples. Raises ConfigError."""
        return SampleEngine(read_stored(self.path, "engine.path"), self.seed, self.wave_size)

    def digest(self) -> str | None:
        """Return a digest of the samples; None where they are missing."""
        try:
            with open_to_read(Path(self.path) / RESULTS) as file:
                digest = hashlib.sha256()
                while piece := file.read(2**20):
                    digest.update(piece)
                return digest.hexdigest()
        except OSError:
            return None


class SampleEngine(EngineBase):
    """An engine that returns sample i of a problem for the i-th request of a run with this seed.

    With a ``wave_size`` above 0 the run requests that many in each of its calls, else all in the first.
    """

    def __init__(self, run: StoredRun, seed: int = 0, wave_size: int = 0) -> None:
        self._run, self._seed, self._wave_size = run, seed, wave_size
        self._numbers: dict[str, Mapping[int, int]] = {}

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [self._reply(request) for request in requests]

    async def release(self, home: str) -> Overhead:
        self._numbers.pop(home, None)
        return Overhead()

    def _reply(self, request: GenerateRequest) -> Completion | Failure:
        if request.token_ids or not request.to_end:
            return Failure("NotStored", _WHOLE)
        stored = self._run.find(request.problem_id, request.question)
        if stored is None:
            return Failure("NotStored", f"the stored run has no problem {request.problem_id}")
        num = len(stored.samples)
        number = self._number(request, num)
        if number is None:
            allowed = f"set budget={num} or less, and seed={self._seed}"
            return Failure("NotStored", f"the stored run has {num} samples of this problem: {allowed}")
        completion = completion_of(stored.samples[number])
        if (length := completion.usage.generated_tokens) > request.params.max_tokens:
            allowed = f"and max_tokens is {request.params.max_tokens}: set task.max_tokens"
            return Failure("NotStored", f"a stored sample has {length} tokens, {allowed}")
        return completion

    def _number(self, request: GenerateRequest, num_samples: int) -> int | None:
        if request.home not in self._numbers:
            self._numbers[request.home] = self._numbers_of(request.problem_id, num_samples)
        return self._numbers[request.home].get(request.seed)

    def _numbers_of(self, problem_id: str, num_samples: int) -> Mapping[int, int]:
        """Return the number of the sample that each seed of a problem stands for.

        Row i of the first call is sample i (``Session.generate`` names its seeds so); a later call is a wave.
        """
        numbers = dict(zip(self._seeds(problem_id, 1, num_samples), range(num_samples), strict=True))
        for call, start in enumerate(range(0, num_samples, self._wave_size or num_samples), 1):
            rows = range(start, min(start + self._wave_size, num_samples)) if call > 1 else range(0)
            numbers |= zip(self._seeds(problem_id, call, len(rows)), rows, strict=True)
        return numbers

    def _seeds(self, problem_id: str, call: int, num_rows: int) -> list[int]:
        return derive_seeds((self._seed, problem_id, "", call), range(num_rows))
