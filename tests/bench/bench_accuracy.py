"""Accuracy of the strategies on the embedded models, paired: ``python -m tests.bench.bench_accuracy``.

Runs ``run.py -m`` once for each budget (the replicas stay warm between its points) and compares result
lines of the same problem and seed; intervals are bootstrapped over problems.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from orchestrator.results import SUMMARY, read_results
from orchestrator.statistics import paired_interval

REPOSITORY = Path(__file__).parents[2]
Lines = dict[tuple[str, int], list[dict[str, Any]]]


def run_sweep(args: argparse.Namespace, sweep_dir: Path) -> None:
    """One process, every strategy and seed."""
    command = [
        sys.executable, "run.py", "-m",
        f"strategy={','.join(args.strategies)}",
        f"seed={','.join(map(str, range(args.seeds)))}",
        f"budget={args.budget}", f"task.limit={args.problems}", f"task.split={args.split}",
        f"run_dir={sweep_dir}", "tracker=none", *args.overrides,
    ]  # fmt: skip
    subprocess.run(command, cwd=REPOSITORY, check=True)


def read_sweep(sweep_dir: Path) -> tuple[Lines, list[dict[str, Any]]]:
    """Result lines by (strategy, seed), in the order of the problems, and the summaries."""
    lines: Lines = {}
    summaries = []
    for path in sorted(sweep_dir.rglob(SUMMARY)):
        summary = json.loads(path.read_text())
        summaries.append(summary)
        results = sorted(read_results(path.parent), key=lambda line: line["problem_id"])
        lines[summary["strategy"], summary["seed"]] = results
    return lines, summaries


def by_problem(lines: Lines, strategy: str, num_seeds: int) -> list[list[float]]:
    """Right (1) or wrong (0): ``[problems][seeds]``."""
    columns = [[float(line["correct"]) for line in lines[strategy, seed]] for seed in range(num_seeds)]
    return [list(row) for row in zip(*columns, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--strategies", nargs="+", default=["self_consistency", "best_of_n", "particle_filter"]
    )
    parser.add_argument("--budget", type=int, default=16)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_accuracy"))
    parser.add_argument("overrides", nargs="*", help="further keys for run.py")
    args = parser.parse_args()
    sweep_dir = args.out / f"budget-{args.budget}"
    if not sweep_dir.exists():
        run_sweep(args, sweep_dir)
    lines, summaries = read_sweep(sweep_dir)
    console = Console()
    table = Table(title=f"{args.problems} problems x {args.seeds} seeds, budget {args.budget}")
    for name in ("strategy", "accuracy", "pass@N", "generated tokens", "reward calls", "seconds a run"):
        table.add_column(name)
    for strategy in args.strategies:
        runs = [s for s in summaries if s["strategy"] == strategy]
        row = by_problem(lines, strategy, args.seeds)
        table.add_row(
            strategy,
            f"{mean(mean(r) for r in row):.3f}",
            f"{mean(s['pass_at_budget'] for s in runs):.3f}",
            f"{mean(s['usage']['generated_tokens'] for s in runs) / args.problems:,.0f} a problem",
            f"{mean(s['usage']['reward_calls'] for s in runs) / args.problems:,.1f} a problem",
            f"{mean(s['wall_seconds'] for s in runs):.1f}",
        )
    console.print(table)
    for a, b in itertools.combinations(reversed(args.strategies), 2):
        rows = (by_problem(lines, s, args.seeds) for s in (a, b))
        difference, low, high = paired_interval(*rows)
        console.print(f"{a} - {b}: {difference:+.3f}  95 % interval [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
