"""Run what a table of strategies lacks, and make the table: what is complete is not run again."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from orchestrator.replay.__main__ import read_recorded, summarise
from orchestrator.replay.whatif import WhatIf, replay_all
from tests.bench.methods import COMMON_TEMPERATURE, Method
from tests.bench.stored import Measured, Table, measure, with_intervals
from tests.bench.sweeps import REPOSITORY, Outcome, Point, Sweep


@dataclass(frozen=True)
class Measuring:
    """Where runs are kept, and what they have in common; ``keys`` are further keys of run.py.

    ``first`` is the first problem, where ``keys`` name another one than 0.
    """

    out: Path
    task: str
    split: str
    problems: int
    seeds: tuple[int, ...]
    keys: tuple[str, ...] = ()
    isolated: bool = False
    first: int = 0

    def table(self, methods: Sequence[Method], budgets: Sequence[int], reference: str | None = None) -> Table:
        """Run what is missing of these methods at these budgets, and return all of it.

        Differences are from ``reference``, where it is one of them.
        """
        by_keys = sorted(methods, key=lambda method: method.all_keys)
        for keys, same in groupby(by_keys, key=lambda method: method.all_keys):
            points = {p for m in same for p in self._points(m, tuple(budgets))}
            self._sweep(keys).run(sorted(points), isolated=self.isolated)
        curves = {method.name: self._measured(method, tuple(budgets)) for method in methods}
        others = {m.name: m.temperature for m in methods if m.temperature not in (None, COMMON_TEMPERATURE)}
        size = (self.task, self.split, self.problems, self.seeds)
        return with_intervals(Table(commit(), *size, reference, others, curves, self.first))

    def _points(self, method: Method, budgets: tuple[int, ...]) -> list[Point]:
        """What must be run: of independent samples the largest budget holds all the others."""
        sizes = budgets[-1:] if method.is_independent else method.budgets_of(budgets)
        return [Point(size, method.strategy, seed) for size in sizes for seed in self.seeds]

    def _sweep(self, keys: tuple[str, ...]) -> Sweep:
        every = (*self.keys, *keys)
        name = re.sub(r"[^\w.-]+", "_", " ".join(every)) or "as-shipped"
        folder = self.out / f"{self.task}-{self.split}-{self.problems}" / name
        return Sweep(folder, self.problems, self.split, every, in_process=not self.isolated)

    def _measured(self, method: Method, budgets: tuple[int, ...]) -> tuple[Measured, ...]:
        outcomes = self._sweep(method.all_keys).read()
        points: list[Measured] = []
        for budget in method.budgets_of(budgets):
            at = budgets[-1] if method.is_independent else budget
            found = [outcomes[Point(at, method.strategy, seed)] for seed in self.seeds]
            points.append(measure(method.strategy, budget, [with_fewer(o, budget) for o in found]))
        return tuple(points)


def with_fewer(outcome: Outcome, budget: int) -> Outcome:
    """Return what a run of independent samples would have been with a smaller budget: no model is called."""
    if budget == outcome.summary["budget"]:
        return outcome
    run, what = read_recorded(outcome.folder), WhatIf(budget=budget)
    lines = sorted(asyncio.run(replay_all(run, what)), key=lambda line: str(line["problem_id"]))
    return Outcome(summarise(run, what, lines), tuple(lines), outcome.folder)


def at_temperatures(methods: Iterable[Method], temperatures: Sequence[float]) -> list[Method]:
    """Every method at every temperature, named by both."""
    return [
        replace(method, name=f"{method.name} at {t:g}", temperature=t)
        for method in methods
        if method.has_temperature
        for t in temperatures
    ]


def best_temperatures(development: Table, methods: Iterable[Method]) -> Mapping[str, float]:
    """Return by method the temperature of greatest accuracy; of equal ones the nearest to the shipped one."""
    best = {}
    for method in methods:
        found = {
            development.temperatures.get(name, COMMON_TEMPERATURE): points[-1].accuracy.value
            for name, points in development.curves.items()
            if name.startswith(f"{method.name} at ")
        }
        if found:
            best[method.name] = max(found, key=lambda t: (found[t], -abs(t - COMMON_TEMPERATURE)))
    return best


def commit() -> str:
    """Return the commit of this tree, with a plus where files differ from it; "unknown" without git."""
    try:
        found = [_git("rev-parse", "--short=12", "HEAD"), _git("status", "--porcelain", "-uno")]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found[0] + ("+" if found[1] else "")


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.strip()
