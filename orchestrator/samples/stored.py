"""results.jsonl of a run of independent samples (best_of_n, self_consistency, hex), as arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.allocation.saturation_study import Samples
from orchestrator.allocation.subsets import NO_ANSWER, Ints
from orchestrator.errors import ConfigError
from orchestrator.search.budgets import cut_by, independent_knob
from orchestrator.storage.result_lines import in_recorded_order
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import read_config, read_summary

TARGET = "_target_"
_PACKAGE = "strategies."


@dataclass(frozen=True)
class StoredSamples:
    """The samples of a run, in their order: one entry a problem.

    ``steps`` holds for each sample the log-odds of its scored steps.
    """

    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    problem_ids: Sequence[str]
    samples: Samples
    steps: Sequence[Sequence[tuple[float, ...]]]
    tokens: Sequence[Ints]

    @property
    def has_rewards(self) -> bool:
        return any(steps for each in self.steps for steps in each)


Keys = Callable[[Sequence[str | None]], Sequence[str | None]]
"""One key an answer, equal for equivalent ones, as ``Task.keys`` returns them."""


def as_written(answers: Sequence[str | None]) -> Sequence[str | None]:
    """Return the texts of the answers as their keys: equivalent answers of other texts count apart."""
    return answers


def read_stored(folder: Path, key: str = "RUN_DIR", keys: Keys = as_written) -> StoredSamples:
    """Read a run of independent samples, in the order of the problems' names.

    Raises ConfigError for any other directory.
    """
    config, summary = read_config(folder, key), read_summary(folder, key)
    check_independent(config, summary, folder, key)
    lines = [line for line in stream_results(folder) if line["error"] is None and line["candidates"]]
    if not lines:
        raise ConfigError(key, folder, "has no result with a candidate")
    # Results are in the order in which problems finished, which would decide what is held out together.
    lines.sort(key=lambda line: str(line["problem_id"]))
    candidates = [in_recorded_order(line) for line in lines]
    return StoredSamples(
        config=config,
        summary=summary,
        problem_ids=[str(line["problem_id"]) for line in lines],
        samples=Samples(
            right=[np.asarray([bool(c["correct"]) for c in each]) for each in candidates],
            log_odds=[np.asarray([_last(c) for c in each]) for each in candidates],
            keys=[_numbers(keys([c["answer"] for c in each])) for each in candidates],
        ),
        steps=[[_steps(c) for c in each] for each in candidates],
        tokens=[np.asarray([c["num_tokens"] for c in each], dtype=np.int64) for each in candidates],
    )


def check_independent(
    config: Mapping[str, Any], summary: Mapping[str, Any], folder: Path, key: str = "RUN_DIR"
) -> None:
    """Raise ConfigError unless the candidates of a run are N independent samples of each problem."""
    target = str(config["strategy"].get(TARGET))
    # A class that this repository does not ship could run code as it is imported.
    if not target.startswith(_PACKAGE) or independent_knob(target) is None:
        allowed = f"is a run of strategy={summary['strategy']}, whose candidates are not independent: "
        raise ConfigError(key, folder, allowed + "give one of best_of_n, self_consistency or hex")
    if (cut := cut_by(config)) is not None:
        allowed = f"is a run whose samples {cut} has cut, by their rewards or answers: "
        raise ConfigError(key, folder, allowed + "give one with N samples of each problem")


def _steps(candidate: Mapping[str, Any]) -> tuple[float, ...]:
    return tuple(float(x) for x in candidate["step_log_odds"] if x is not None)


def _last(candidate: Mapping[str, Any]) -> float:
    """Return the last reward as log-odds.

    An unfinished or unscored sample ranks last, as it does where an answer is chosen.
    """
    steps = _steps(candidate)
    return steps[-1] if steps and candidate["finished"] else -math.inf


def _numbers(keys: Sequence[str | None]) -> Ints:
    names: dict[str, int] = {}
    found = [NO_ANSWER if key is None else names.setdefault(key, len(names)) for key in keys]
    return np.asarray(found, dtype=np.int64)
