"""Budgets across problems, off line: ``python -m tests.bench.bench_allocators``.

Draws one run of best of 16 on Countdown problems that no other benchmark has, and recomputes from it what
``allocator=rounds`` would have answered with each gain, and with floors to give problems up, as ``python -m
orchestrator.replay RUN budget=4,6,8 allocator=uniform,rounds`` does. ``--docs`` writes
docs/data/allocators.json and the tables of docs/adaptive.md.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from orchestrator.allocation.floors import Floor, fit_floors, never_solved
from orchestrator.intervals import paired_interval
from orchestrator.replay.granted import replay
from orchestrator.replay.whatif import Recorded, WhatIf
from orchestrator.samples.stored import read_stored
from tests.bench.adaptive_samples import KEYS, recorded
from tests.bench.pilots import publish
from tests.bench.sweeps import Point, Sweep

TASK, OFFSET, N = "countdown", 1000, 16
MEANS = (4, 6, 8)
GAINS = ("need", "improvement", "vote")
PRIOR_WEIGHTS = (1, 16)
NUMS = (2, 4, 8, 16)
"""Of samples after which a floor is fitted."""
GIVEN_UP = ((2, 4, 8, 16), (2, 4), (8,))
"""Which of the floors are tried."""


@dataclass(frozen=True)
class Stored:
    """A run with what its problems would have got of a mean number of samples, each alike or by rounds."""

    run: Recorded
    uniform: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def alike(self, mean: int) -> list[dict[str, Any]]:
        """Return the lines of a run whose problems have ``mean`` samples each."""
        if mean not in self.uniform:
            self.uniform[mean] = asyncio.run(replay(self.run, WhatIf(budget=mean)))
        return self.uniform[mean]

    def rounds(self, mean: int, **knobs: Any) -> dict[str, Any]:
        """Return the figures of ``allocator=rounds``, paired with every problem having as much."""
        given = {"most": N, **knobs}
        granted = (("allocator", "rounds"), *((f"allocator.{key}", value) for key, value in given.items()))
        lines = asyncio.run(replay(self.run, WhatIf(budget=mean, granted=granted)))
        own, other = ([[float(x["correct"])] for x in each] for each in (lines, self.alike(mean)))
        return {**row(lines), "difference": [round(x, 6) for x in paired_interval(own, other)]}


def row(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return accuracy, and the tokens of all problems."""
    return {
        "accuracy": round(fmean(float(x["correct"]) for x in lines), 6),
        "tokens": sum(x["usage"]["generated_tokens"] for x in lines),
        "sequential": round(fmean(x["usage"]["sequential_tokens"] for x in lines), 2),
    }


def by_gain(stored: Stored) -> list[dict[str, Any]]:
    """Return for each mean every problem alike, and rounds with each gain."""
    return [
        {"mean": mean, "uniform": row(stored.alike(mean))}
        | {gain: stored.rounds(mean, gain=gain) for gain in GAINS}
        for mean in MEANS
    ]


def by_prior(stored: Stored) -> dict[str, list[float]]:
    """Return the accuracies of ``improvement`` by its ``prior_weight``, at each mean."""
    return {
        f"{w}": [stored.rounds(m, gain="improvement", prior_weight=w)["accuracy"] for m in MEANS]
        for w in PRIOR_WEIGHTS
    }


def floors_of(folder: Path) -> tuple[float, list[Floor]]:
    """Return the share that is never solved, and the floors of ``orchestrator.allocation floors``."""
    found = read_stored(folder)
    rewards = [1.0 / (1.0 + np.exp(-x)) for x in found.samples.log_odds]
    return never_solved(found.samples.right), fit_floors(found.samples.right, rewards, NUMS)


def given_up(stored: Stored, floors: Sequence[Floor]) -> list[dict[str, Any]]:
    """Return what floors cost ``need``, at means that leave something to save."""
    level = {each.num_samples: each.level for each in floors}
    return [
        {"after": list(nums), "mean": mean, **stored.rounds(mean, give_up={str(n): level[n] for n in nums})}
        for nums in GIVEN_UP
        for mean in MEANS[1:]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_allocators"))
    parser.add_argument("--docs", action="store_true", help="write docs/data and docs/adaptive.md")
    args = parser.parse_args()
    keys = (*KEYS[TASK], f"task.offset={OFFSET}", "cluster=inprocess")
    sweep, point = Sweep(args.out / "runs", args.problems, "test", keys), Point(N, "best_of_n", 0)
    sweep.run([point])
    folder = sweep.read()[point].folder
    stored = Stored(recorded(folder))
    share, floors = floors_of(folder)
    found = {
        "task": TASK, "offset": OFFSET, "problems": args.problems, "samples": N, "seed": 0,
        "gains": by_gain(stored), "prior_weight": by_prior(stored), "never solved": round(share, 6),
        "floors": [{**asdict(f), "level": round(f.level, 6)} for f in floors],
        "give up": given_up(stored, floors), "all": row(stored.run.lines),
    }  # fmt: skip
    publish("allocators", args, found)


if __name__ == "__main__":
    main()
