"""Sweeps of run.py that benchmarks share: run the missing points, read them, pair them by problem."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrator.intervals import paired_interval
from orchestrator.runs.execution import Status
from orchestrator.runs.main import main as run
from orchestrator.storage.atomic import write_json
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import CONFIG, SUMMARY

REPOSITORY = Path(__file__).parents[2]
CLAIM = "sweep.json"
Rows = Sequence[Sequence[float]]
"""Right (1) or wrong (0): ``[problems][seeds]``."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One run of a sweep."""

    budget: int
    strategy: str
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: its summary.json, its result lines in the order of the problems' names, its folder."""

    summary: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]
    folder: Path = Path()


Outcomes = Mapping[Point, Outcome]


@dataclass(frozen=True)
class Block:
    """Points that one ``run.py -m`` makes: every combination of the three."""

    budget: int
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def keys(self) -> list[str]:
        strategies, seeds = ",".join(self.strategies), ",".join(map(str, self.seeds))
        return [f"budget={self.budget}", f"strategy={strategies}", f"seed={seeds}"]


def blocks(points: Iterable[Point]) -> Iterator[Block]:
    """The points in few blocks: the seeds of a budget that want the same strategies go together."""
    for budget, same_budget in groupby(sorted(points), key=lambda p: p.budget):
        wanted: dict[int, list[str]] = {}
        for point in same_budget:
            wanted.setdefault(point.seed, []).append(point.strategy)
        seeds_of: dict[tuple[str, ...], list[int]] = {}
        for seed, strategies in sorted(wanted.items()):
            seeds_of.setdefault(tuple(strategies), []).append(seed)
        yield from (Block(budget, strategies, tuple(seeds)) for strategies, seeds in seeds_of.items())


@dataclass(frozen=True)
class Sweep:
    """Points in one folder, all on the same problems and with the same further keys of run.py.

    A point that was cut off is run again from its start, so that its wall time is that of a whole run.
    ``in_process`` runs the points in this process, without Ray, which saves a start for each block.
    """

    folder: Path
    problems: int
    split: str = "test"
    overrides: tuple[str, ...] = ()
    in_process: bool = False

    def run(self, points: Iterable[Point], *, isolated: bool = False) -> None:
        """Run what is missing; ``isolated`` starts a process, with empty caches, for each point.

        Raises SystemExit where the folder holds another sweep, or where run.py refuses its keys.
        """
        self._claim()
        self._discard_unfinished()
        done = self.read()
        missing = [point for point in points if point not in done]
        for block in blocks(missing):
            for piece in _singles(block) if isolated else [block]:
                self._run(piece)

    def read(self) -> dict[Point, Outcome]:
        """Every point that is complete."""
        outcomes = {}
        for folder in self._points():
            summary = _summary(folder)
            if summary.get("complete"):
                lines = tuple(sorted(read_results(folder), key=lambda line: str(line["problem_id"])))
                point = Point(summary["budget"], summary["strategy"], summary["seed"])
                outcomes[point] = Outcome(summary, lines, folder)
        return outcomes

    def _points(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.rglob(CONFIG))

    def _claim(self) -> None:
        """Write down what the points of this folder have in common, or compare with what is there."""
        path = self.folder / CLAIM
        mine = {"problems": self.problems, "split": self.split, "overrides": list(self.overrides)}
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, mine)
        elif json.loads(path.read_text()) != mine:
            raise SystemExit(f"{self.folder} holds another sweep (see its {CLAIM}): choose another folder")

    def _discard_unfinished(self) -> None:
        for folder in self._points():
            if not _summary(folder).get("complete"):
                shutil.rmtree(folder)

    def _run(self, block: Block) -> None:
        keys = [
            "-m", *block.keys,
            f"task.limit={self.problems}", f"task.split={self.split}",
            f"run_dir={self.folder.resolve()}", "tracker=none", *self.overrides,
        ]  # fmt: skip
        status = run([*keys, "cluster=inprocess"]) if self.in_process else _apart(keys)
        # A problem that ended in an error is counted as wrong, and the table says how many there were.
        if status not in (Status.FINISHED, Status.SOME_ERRORS):
            raise SystemExit(f"run.py ended with status {status}; what is complete is kept in {self.folder}")


def _apart(keys: Sequence[str]) -> int:
    """The status of run.py in a process of its own."""
    return subprocess.run([sys.executable, "run.py", *keys], cwd=REPOSITORY, check=False).returncode


def _singles(block: Block) -> list[Block]:
    return [Block(block.budget, (name,), (seed,)) for name in block.strategies for seed in block.seeds]


def _summary(folder: Path) -> dict[str, Any]:
    path = folder / SUMMARY
    return dict(json.loads(path.read_text())) if path.exists() else {}


def by_problem(outcomes: Outcomes, strategy: str, budget: int, seeds: Sequence[int]) -> list[list[float]]:
    """Right (1) or wrong (0): ``[problems][seeds]``."""
    runs = [outcomes[Point(budget, strategy, seed)].lines for seed in seeds]
    return [[float(line["correct"]) for line in lines] for lines in zip(*runs, strict=True)]


def interval(rows: Rows) -> tuple[float, float, float]:
    """The mean of ``[problems][seeds]`` with its 95 % interval, bootstrapped over problems."""
    return paired_interval(rows, [[0.0]] * len(rows))
