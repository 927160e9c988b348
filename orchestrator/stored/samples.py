"""What a run directory holds of its problems: questions, references, samples and their rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.storage.result_lines import in_recorded_order, trajectory_of
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import RESULTS
from orchestrator.stored.repeating import NEEDED
from orchestrator.types import Problem, Trajectory


@dataclass(frozen=True, slots=True)
class StoredProblem:
    """A problem with its samples, in the order in which they were drawn, and the answers that they state."""

    problem: Problem
    samples: tuple[Trajectory, ...]
    answers: tuple[str | None, ...]


@dataclass(frozen=True)
class StoredRun:
    """The problems of a run, in the order of its results."""

    problems: Sequence[StoredProblem]

    def find(self, problem_id: str, question: str) -> StoredProblem | None:
        """Return the problem with an id, or else with a question; None where there is neither."""
        return self._by_id.get(problem_id) or self._by_question.get(question)

    def answer_of(self, text: str) -> tuple[bool, str | None]:
        """Return whether a sample has this text, and the answer that the run has read of it."""
        return text in self._answers, self._answers.get(text)

    @cached_property
    def _by_id(self) -> Mapping[str, StoredProblem]:
        return {stored.problem.id: stored for stored in self.problems}

    @cached_property
    def _by_question(self) -> Mapping[str, StoredProblem]:
        return {stored.problem.question: stored for stored in self.problems}

    @cached_property
    def _answers(self) -> Mapping[str, str | None]:
        pairs = (pair for s in self.problems for pair in zip(s.samples, s.answers, strict=True))
        return {sample.text: answer for sample, answer in pairs}


def read_stored(path: str, key: str) -> StoredRun:
    """Read the problems of a run directory that have samples.

    Raises ConfigError that names ``key`` where it has none, or was written by a version that did not store
    steps.
    """
    results = Path(path) / RESULTS
    try:
        status = results.stat()
    except OSError as failure:
        allowed = f"must be the directory of a run: its {RESULTS} cannot be read: {failure.strerror}"
        raise ConfigError(key, path, allowed) from None
    return _read(path, key, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=2)  # the engine, the verifier and the task of one run read the same directory
def _read(path: str, key: str, _version: tuple[int, int, int]) -> StoredRun:
    problems = [_stored(line, path, key) for line in stream_results(Path(path)) if line["candidates"]]
    if not problems:
        raise ConfigError(key, path, f"has no problem with samples in its {RESULTS}")
    return StoredRun(problems)


def _stored(line: Mapping[str, Any], path: str, key: str) -> StoredProblem:
    if "answer_index" not in line or any(name not in c for c in line["candidates"] for name in NEEDED):
        raise ConfigError(key, path, "was written by an older version, which did not store steps")
    candidates = in_recorded_order(line)
    return StoredProblem(
        Problem(line["problem_id"], line["question"], line["reference"]),
        tuple(trajectory_of(c) for c in candidates),
        tuple(c["answer"] for c in candidates),
    )
