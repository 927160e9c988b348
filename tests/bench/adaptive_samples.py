"""The samples of ``bench_adaptive``: drawn once for each task, split and seed, and read as lists of N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from orchestrator.replay.__main__ import read_recorded
from orchestrator.replay.whatif import Recorded
from orchestrator.storage.result_lines import in_recorded_order
from orchestrator.storage.run_files import CONFIG, read_summary
from tests.bench.adaptive_arrays import Answered, Problem, answered, at_once, problems_of
from tests.bench.sweeps import Point, Sweep

KEYS = {"chain": (), "countdown": ("experiment=embedded_countdown",)}


@dataclass(frozen=True)
class Drawing:
    """What is drawn of a task: ``num_samples`` for each seed of the test problems, more of the others."""

    folder: Path
    task: str
    num_problems: int
    num_samples: int
    num_dev_samples: int
    seeds: Sequence[int]

    def draw(self) -> None:
        """Draw what is missing."""
        self.draw_dev()
        self._sweep("test", "test").run([Point(self.num_samples, "best_of_n", seed) for seed in self.seeds])
        # A greedy sample depends on no seed.
        greedy = self._sweep("greedy", "test", "strategy.temperatures=hedged")
        greedy.run([Point(1, "best_of_n", 0)])

    def draw_dev(self) -> Path:
        """Draw the samples of the development problems; return the run."""
        self._sweep("dev", "dev").run([Point(self.num_dev_samples, "best_of_n", 0)])
        return self.dev

    def draw_certainty(self) -> Path:
        """Draw as many samples that the policy's own certainty judges; return the run."""
        keys = ("verifier=self_certainty", "verifier.readout=whole")
        self._sweep("certainty", "dev", *keys).run([Point(self.num_dev_samples, "best_of_n", 0)])
        return self._runs("certainty")[0]

    def draw_plan_sweep(self, strategies: Sequence[str], budgets: Sequence[int]) -> Path:
        """Draw what a plan is fitted to, on the development problems with another seed; return the folder."""
        sweep = self._sweep("plan", "dev")
        sweep.run([Point(budget, strategy, 1) for strategy in strategies for budget in budgets])
        return sweep.folder

    @property
    def dev(self) -> Path:
        """The run of the development problems."""
        return self._runs("dev")[0]

    @property
    def test(self) -> dict[int, Path]:
        """The runs of the test problems, by seed."""
        return {seed: path for path in self._runs("test") if (seed := _seed(path)) in self.seeds}

    @property
    def greedy(self) -> Path:
        """The run of one greedy sample a test problem."""
        return self._runs("greedy")[0]

    def _sweep(self, name: str, split: str, *keys: str) -> Sweep:
        folder = self.folder / f"{self.task}-{name}"
        return Sweep(folder, self.num_problems, split, (*KEYS[self.task], *keys, "cluster=inprocess"))

    def _runs(self, name: str) -> list[Path]:
        return sorted(path.parent for path in (self.folder / f"{self.task}-{name}").rglob(CONFIG))


def _seed(path: Path) -> int:
    return int(read_summary(path, "RUN_DIR")["seed"])


@dataclass(frozen=True)
class List:
    """N samples of each problem, as a run with budget N has them."""

    run: Recorded
    size: int

    def hedged(self, greedy: Recorded) -> List:
        """Return the list whose first sample is the greedy one."""
        first = {line["problem_id"]: line["candidates"][0] for line in greedy.lines}
        lines = []
        for line in self.run.lines:
            rest = in_recorded_order(line)[1:]
            lines.append({**line, "candidates": [first[line["problem_id"]], *rest], "answer_index": 0})
        return replace(self, run=replace(self.run, lines=lines))

    @cached_property
    def problems(self) -> list[Problem]:
        """The samples of each problem."""
        return problems_of(self.run)

    def first(self, num: int) -> Answered:
        """Return best of the first samples of each problem."""
        return answered(self.problems, lambda samples: at_once(samples[:num]))


def recorded(folder: Path) -> Recorded:
    """Return a run that this benchmark has made, its problems in the order of their names."""
    run = read_recorded(folder, trusts=True)
    return replace(run, lines=sorted(run.lines, key=lambda line: str(line["problem_id"])))


def lists_of(folder: Path, size: int) -> list[List]:
    """Return the disjoint lists of ``size`` samples of a run: as good as so many seeds, for a choice."""
    run = recorded(folder)
    most = min(len(line["candidates"]) for line in run.lines)
    return [List(_cut(run, start, size), size) for start in range(0, most - size + 1, size)]


def _cut(run: Recorded, start: int, size: int) -> Recorded:
    lines = [
        {**line, "candidates": in_recorded_order(line)[start : start + size], "answer_index": 0}
        for line in run.lines
    ]
    strategy = {**run.config["strategy"], "num_samples": size}
    return replace(run, lines=lines, config={**run.config, "budget": size, "strategy": strategy})
