"""What more samples could give on the shipped models: ``python -m tests.bench.bench_saturation``.

The bounds at N, the forecast of the first pilot, and the surface of k and T as ``python -m
orchestrator.saturation`` prints them: of trained verifiers, and on Countdown of the policy's own certainty.
Draws the development samples of ``bench_adaptive`` where they are missing. ``--docs`` writes
docs/data/saturation.json and the blocks of docs/saturation.md.
"""

from __future__ import annotations

import math
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.allocation.bounds import Interval, bounds
from orchestrator.allocation.saturation_study import BETA, INFLATED, Samples, study
from orchestrator.allocation.surface import surface
from orchestrator.samples.stored import read_stored
from orchestrator.saturation.__main__ import task_keys
from tests.bench.adaptive_fits import EPSILON, PILOT
from tests.bench.pilots import TASKS, arguments, drawing, publish, size

# On chain it would take as long as all else.
JUDGED_BY_CERTAINTY = ("countdown",)


def samples_of(folder: Path) -> Samples:
    """Return a run's samples, equivalent answers with the same key."""
    return read_stored(folder, keys=task_keys(folder, trusts=True)).samples


def first_pilot(samples: Samples) -> dict[str, list[float]]:
    """Return what each family forecasts from the first samples for the greatest N, with its interval."""
    found = study(samples, PILOT, EPSILON).forecasts
    return {name: _numbers(found[name].at[-1]) for name in (BETA, INFLATED)}


def bounds_of(samples: Samples) -> dict[str, list[float]]:
    """Return each bound at as many samples as every problem has."""
    found = bounds(samples.right, samples.log_odds, samples.keys, _most(samples))
    return {name: _numbers(each) for name, each in found.items()}


def surface_of(samples: Samples) -> dict[str, Any]:
    """Return by temperature the best k with its accuracy, that of all k, and the fall between the two."""
    found = surface(samples.right, samples.log_odds, _most(samples))
    columns = enumerate(zip(found.temperatures, found.best_sizes, strict=True))
    return {
        f"T={t:g}" if math.isfinite(t) else "T=inf": {
            "k*": size,
            "at k*": round(float(found.means[:, i].max()), 6),
            f"at {found.ks[-1]}": round(float(found.means[-1, i]), 6),
            "fall": _numbers(found.fall(i)),
        }
        for i, (t, size) in columns
    }


def _most(samples: Samples) -> int:
    return min(len(r) for r in samples.right)


def _numbers(found: Interval) -> list[float]:
    return [round(float(x), 6) for x in astuple(found)]


def main() -> None:
    args = arguments(__doc__)
    tasks = {}
    for task in TASKS:
        own = drawing(args, task)
        samples = samples_of(own.draw_dev())
        judges = {"verifier": samples}
        if task in JUDGED_BY_CERTAINTY:
            judges["self_certainty"] = samples_of(own.draw_certainty())
        tasks[task] = {
            "pass@1": round(float(np.mean([r.mean() for r in samples.right])), 6),
            "bounds": bounds_of(samples),
            "first pilot": first_pilot(samples),
            "surface": {judge: surface_of(each) for judge, each in judges.items()},
        }
    publish("saturation", args, {**size(args), "pilot": PILOT, "tasks": tasks})


if __name__ == "__main__":
    main()
