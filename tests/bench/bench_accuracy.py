"""Accuracy of the strategies on the embedded models, paired: ``python -m tests.bench.bench_accuracy``.

Runs ``run.py -m`` (the replicas stay warm between its points) and compares result lines of the same problem
and seed; intervals are bootstrapped over problems. Points that are there already are not run again.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from orchestrator.intervals import paired_interval
from tests.bench.sweeps import Outcomes, Point, Sweep, by_problem


def row(args: argparse.Namespace, outcomes: Outcomes, strategy: str) -> list[str]:
    """A line of the table."""
    runs = [outcomes[Point(args.budget, strategy, seed)].summary for seed in range(args.seeds)]
    correct = by_problem(outcomes, strategy, args.budget, range(args.seeds))
    return [
        strategy,
        f"{mean(mean(r) for r in correct):.3f}",
        f"{mean(s['pass_at_budget'] for s in runs):.3f}",
        f"{mean(s['usage']['generated_tokens'] for s in runs) / args.problems:,.0f} a problem",
        f"{mean(s['usage']['reward_calls'] for s in runs) / args.problems:,.1f} a problem",
        f"{mean(s['wall_seconds'] for s in runs):.1f}",
    ]


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
    sweep = Sweep(args.out, args.problems, args.split, tuple(args.overrides))
    sweep.run(Point(args.budget, s, seed) for s in args.strategies for seed in range(args.seeds))
    outcomes = sweep.read()
    console = Console()
    table = Table(title=f"{args.problems} problems x {args.seeds} seeds, budget {args.budget}")
    for name in ("strategy", "accuracy", "pass@N", "generated tokens", "reward calls", "seconds a run"):
        table.add_column(name)
    for strategy in args.strategies:
        table.add_row(*row(args, outcomes, strategy))
    console.print(table)
    for a, b in itertools.combinations(reversed(args.strategies), 2):
        rows = (by_problem(outcomes, s, args.budget, range(args.seeds)) for s in (a, b))
        difference, low, high = paired_interval(*rows)
        console.print(f"{a} - {b}: {difference:+.3f}  95 % interval [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
