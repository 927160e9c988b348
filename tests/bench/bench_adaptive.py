"""Where compute pays, measured: ``python -m tests.bench.bench_adaptive``, or ``make bench-adaptive``.

Draws best-of-N samples of both tasks once, for each seed, and recomputes every rule from them: answers and
tokens are those of real runs, bit for bit (docs/adaptive.md). Levels are chosen on development problems and
judged on test problems. Samples that are there are not drawn again. ``--docs`` writes docs/data/adaptive.json
and the tables of docs/adaptive.md, docs/saturation.md and docs/strategies.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from orchestrator.samples.stored import read_stored
from tests.bench.adaptive_fits import calibrated, fitted_maps, planned, saturated, values_of
from tests.bench.adaptive_rules import SLACK, N, measured_rounds, measured_rules
from tests.bench.adaptive_samples import Drawing, lists_of, recorded
from tests.bench.adaptive_tables import PAGES, written
from tests.bench.sweeps import REPOSITORY

TASKS = ("chain", "countdown")
DOCS = REPOSITORY / "docs"
DATA = DOCS / "data" / "adaptive.json"
# On chain the sweep would take as long as all else.
PLANNED = ("countdown",)
PLAN_STRATEGIES, PLAN_SIZES = (
    ("best_of_n", "particle_filter", "beam_search", "self_consistency"),
    (2, 4, 8, 16),
)
PLAN_BUDGETS = (4, 6, 8)


def measure(drawing: Drawing, sweep: Path | None) -> dict[str, Any]:
    """Return the figures of a task whose samples are drawn."""
    dev, runs = read_stored(drawing.dev), drawing.test
    dev_lists = lists_of(drawing.dev, N)
    test = [lists_of(runs[seed], N)[0] for seed in sorted(runs)]
    greedy = recorded(drawing.greedy)
    maps = fitted_maps(dev)
    found = {
        "rules": measured_rules(drawing.task, dev_lists, test, [each.hedged(greedy) for each in test]),
        "rounds": measured_rounds(dev_lists, test, values_of(maps)),
        "saturation": saturated(dev.samples),
        "calibration": calibrated(maps, [read_stored(runs[seed]) for seed in sorted(runs)]),
    }
    return found if sweep is None else {**found, "plans": planned(sweep, drawing.dev, test, PLAN_BUDGETS)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dev-samples", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_adaptive"))
    parser.add_argument(
        "--docs", action="store_true", help="write docs/data/adaptive.json and docs/adaptive.md"
    )
    args = parser.parse_args()
    tasks = {}
    for task in TASKS:
        drawing = Drawing(args.out / "runs", task, args.problems, N, args.dev_samples, range(args.seeds))
        drawing.draw()
        sweep = drawing.draw_plan_sweep(PLAN_STRATEGIES, PLAN_SIZES) if task in PLANNED else None
        tasks[task] = measure(drawing, sweep)
    data = {
        "problems": args.problems, "seeds": args.seeds, "samples": N, "dev problems": args.problems,
        "dev samples": args.dev_samples, "slack": SLACK, "tasks": tasks,
    }  # fmt: skip
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    (args.out / "adaptive.json").write_text(text)
    print(text)
    if args.docs:
        DATA.parent.mkdir(exist_ok=True)
        DATA.write_text(text)
        for name, regions in PAGES.items():
            page = DOCS / name
            page.write_text(written(page.read_text(), data, regions))


if __name__ == "__main__":
    main()
