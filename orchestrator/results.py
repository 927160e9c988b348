"""The files of a run directory: results.jsonl, summary.json, config.json and command.json."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from orchestrator.controller import Candidate, ProblemResult
from orchestrator.statistics import wilson_interval
from orchestrator.types import Overhead, Usage

RESULTS, SUMMARY, CONFIG, COMMAND = "results.jsonl", "summary.json", "config.json", "command.json"


def finite(number: float) -> float | None:
    """JSON has no infinity and no NaN: None stands for them."""
    return number if math.isfinite(number) else None


def candidate_line(candidate: Candidate) -> dict[str, Any]:
    """One entry of ``candidates``."""
    reward = candidate.trajectory.reward
    return {
        "answer": candidate.answer,
        "text": candidate.trajectory.text,
        "reward": None if reward is None else reward.value,
        "log_weight": finite(candidate.log_weight),
        "num_tokens": candidate.trajectory.num_tokens,
        "correct": candidate.correct,
    }


def result_line(result: ProblemResult, overhead: Overhead) -> dict[str, Any]:
    """One line of results.jsonl."""
    problem, error = result.problem, result.error
    history = result.solution.history if result.solution else ()
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "reference": problem.answer,
        "answer": result.answer,
        "correct": result.correct,
        "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
        "stopped_by": result.stopped_by,
        "candidates": [candidate_line(c) for c in result.candidates],
        "usage": asdict(result.usage),
        "overhead": asdict(overhead),
        "seconds": round(result.seconds, 6),
        "history": [
            {k: finite(v) if isinstance(v, float) else v for k, v in asdict(record).items()}
            for record in history
        ],
    }


def write_atomically(path: Path, text: str) -> None:
    """Replace a file: a reader sees the old text or the new one, whatever happens."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Strict JSON, written atomically."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_results(run_dir: Path) -> list[dict[str, Any]]:
    """The whole lines of results.jsonl; a last line that was cut short is left out."""
    path = run_dir / RESULTS
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]


class ResultLog:
    """Appends one line a finished problem, flushed and fsynced at once."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / RESULTS
        self._file: BinaryIO | None = None

    def keep(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Start from these lines: drops a torn last line and the problems to be tried again."""
        text = "".join(_dump(line) for line in lines)
        write_atomically(self._path, text)

    def append(self, line: Mapping[str, Any]) -> None:
        """A line is whole on disk when this returns, or it is not there."""
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
        data = _dump(line).encode()
        start = os.fstat(self._file.fileno()).st_size  # a failed write leaves the position past the end
        try:
            if self._file.write(data) != len(data):
                raise OSError(f"{self._path}: the line was cut short")
        except OSError:
            self._file.truncate(start)
            raise
        os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _dump(line: Mapping[str, Any]) -> str:
    return json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n"


class Totals:
    """The figures of a run so far, added up from result lines."""

    def __init__(self) -> None:
        self.num_problems = self.num_correct = self.num_errors = self.num_passed = 0
        self.usage = Usage()
        self.overhead = Overhead()

    def add(self, line: Mapping[str, Any]) -> None:
        self.num_problems += 1
        self.num_correct += bool(line["correct"])
        self.num_errors += line["error"] is not None
        self.num_passed += any(c["correct"] for c in line["candidates"])
        self.usage += Usage(**line["usage"])
        self.overhead += Overhead(**line["overhead"])

    @property
    def accuracy(self) -> float | None:
        return self.num_correct / self.num_problems if self.num_problems else None

    @property
    def pass_at_budget(self) -> float | None:
        """The share of problems with a right answer among their candidates."""
        return self.num_passed / self.num_problems if self.num_problems else None

    @property
    def accuracy_ci95(self) -> tuple[float, float]:
        return wilson_interval(self.num_correct, self.num_problems)

    def summary(self) -> dict[str, Any]:
        """The part of summary.json that comes from results."""
        return {
            "num_problems": self.num_problems,
            "num_correct": self.num_correct,
            "num_errors": self.num_errors,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "pass_at_budget": self.pass_at_budget,
            "usage": asdict(self.usage),
            "overhead": asdict(self.overhead),
        }
