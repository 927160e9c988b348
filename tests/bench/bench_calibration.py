"""What calibrated rewards gain on the shipped models: ``python -m tests.bench.bench_calibration``.

Draws the development samples of ``bench_adaptive`` where they are missing, as ``python run.py
strategy=best_of_n budget=64 task.split=dev task.limit=200`` does, and recomputes everything from them.
``--docs`` writes docs/data/calibration.json and the tables of docs/calibration.md.
"""

from __future__ import annotations

from tests.bench.adaptive_samples import lists_of
from tests.bench.calibrating import NUM_SPLITS, figures
from tests.bench.pilots import TASKS, arguments, drawing, publish, size

N = 16


def main() -> None:
    args = arguments(__doc__)
    tasks = {}
    for task in TASKS:
        lists = lists_of(drawing(args, task).draw_dev(), N)
        tasks[task] = figures([each.problems for each in lists])
    publish("calibration", args, {**size(args), "list": N, "splits": NUM_SPLITS, "tasks": tasks})


if __name__ == "__main__":
    main()
