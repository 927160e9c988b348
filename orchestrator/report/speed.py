"""Tokens a second by the arguments of the engine: a row for each engine of a folder of runs.

Runs that differ in such arguments alone are one point of the other tables, or two settings; speed is what
they differ in. It is that of whole runs, with the time that searches and verifiers take.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.dotted import dotted
from orchestrator.report.runs import SavedRun


@dataclass(frozen=True, slots=True)
class EngineSpeed:
    """The runs of one engine whose wall time is known: ``values`` of the arguments, and their sums."""

    values: tuple[str, ...]
    num_runs: int
    num_tokens: int
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens over wall time."""
        return self.num_tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Speeds:
    """The arguments in which the engines differ, and a row for each engine, the fastest first."""

    keys: tuple[str, ...]
    rows: tuple[EngineSpeed, ...]


def speeds(runs: Sequence[SavedRun]) -> Speeds | None:
    """Return the table; None where all runs have the same engine."""
    timed = [run for run in runs if run.wall_seconds]
    flats = [_arguments(run) for run in timed]
    names = sorted({key for flat in flats for key in flat})
    keys = tuple(key for key in names if len({flat.get(key) for flat in flats}) > 1)
    if not keys:
        return None
    groups: dict[tuple[str, ...], list[SavedRun]] = defaultdict(list)
    for run, flat in zip(timed, flats, strict=True):
        groups[tuple(flat.get(key, "") for key in keys)].append(run)
    rows = [_row(values, group) for values, group in groups.items()]
    return Speeds(keys, tuple(sorted(rows, key=lambda row: (-row.tokens_per_second, row.values))))


def _arguments(run: SavedRun) -> dict[str, str]:
    node = {k: v for k, v in run.config["engine"].items() if k != "_target_"}
    arguments = {f"engine.{key}": json.dumps(value) for key, value in dotted(node).items()}
    return {"engine": str(run.summary["engine"]), **arguments}


def _row(values: tuple[str, ...], runs: Sequence[SavedRun]) -> EngineSpeed:
    num_tokens = sum(sum(run.columns.generated_tokens) for run in runs)
    return EngineSpeed(values, len(runs), num_tokens, sum(run.wall_seconds for run in runs))
