"""Every strategy's accuracy against what it costs: ``python -m tests.bench.bench_strategies``.

Runs ``run.py -m`` for each budget and compares result lines of the same problem and seed; intervals are
bootstrapped over problems. Points that are complete are not run again, so a bench that was cut off goes on,
and more budgets or seeds reuse what is there. Writes curves.json and curves.md, and pictures where
matplotlib is installed; ``--docs`` puts the tables between the comments of a document too, the pictures
beside it. Strategies that bring an engine and a task of their own are compared with each other alone.

Wall times are those of points that follow one another on the same replicas: caches hold what earlier points
read. ``--isolated`` starts afresh for each point, which takes some ten seconds more.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.curves import (
    Curves,
    accuracy_table,
    curve_table,
    difference_table,
    filled,
    measure,
    reach_table,
)
from tests.bench.plots import can_plot, plot_all, plot_one
from tests.bench.sweeps import REPOSITORY, Outcomes, Point, Sweep

REFERENCE = "particle_filter"
# Methods that do not read the budget: one point is their whole curve.
ONE_SIZE = {"greedy"}
# Methods that follow a plan, which bench_adaptive measures.
FOLLOWS_A_PLAN = {"compute_optimal"}
# What the papers promise, to be read off the curves: the first needs less than the second.
CLAIMS = (
    ("particle_filter", "best_of_n"),
    ("entropic_particle_filter", "particle_filter"),
    ("astar", "particle_filter"),
)
FULL = (200, 3)
CHOICES = REPOSITORY / "conf" / "strategy"


def names() -> list[str]:
    """Every strategy without a plan, those on the default engine and task first."""
    found = {f.stem for f in CHOICES.glob("*.yaml")} - FOLLOWS_A_PLAN
    return sorted(found, key=lambda name: (brings_its_own(name), name))


def brings_its_own(strategy: str) -> bool:
    """Whether it selects an engine and a task, so that its accuracy is not to be compared with others'."""
    return "@package _global_" in (CHOICES / f"{strategy}.yaml").read_text().partition("\n")[0]


def wanted(strategies: Sequence[str], budgets: Sequence[int], seeds: Sequence[int]) -> list[Point]:
    return [
        Point(budget, strategy, seed)
        for strategy in strategies
        for budget in budgets_of(strategy, budgets)
        for seed in seeds
    ]


def budgets_of(strategy: str, budgets: Sequence[int]) -> Sequence[int]:
    return budgets[:1] if strategy in ONE_SIZE else budgets


def curves_of(
    outcomes: Outcomes, strategies: Sequence[str], budgets: Sequence[int], seeds: Sequence[int]
) -> Curves:
    """What was measured, each compared with the reference where that was measured too."""

    def reference_of(strategy: str) -> str | None:
        return REFERENCE if REFERENCE in strategies and strategy != REFERENCE else None

    return {
        strategy: [
            measure(outcomes, strategy, budget, seeds, reference_of(strategy))
            for budget in budgets_of(strategy, budgets)
        ]
        for strategy in strategies
    }


def caption(args: argparse.Namespace) -> str:
    """What the figures are of."""
    size = (args.problems, args.seeds)
    reduced = "" if all(a >= b for a, b in zip(size, FULL, strict=True)) else "Reduced run: "
    keys = f", {' '.join(args.overrides)}" if args.overrides else ""
    seeds = f"{args.seeds} seed{'s' if args.seeds > 1 else ''}"
    return f"{reduced}{args.problems} problems ({args.split}) x {seeds}{keys}"


def tables(curves: Curves, args: argparse.Namespace) -> str:
    """The comparison of all strategies, as markdown."""
    parts = [f"{caption(args)}.", accuracy_table(curves, args.budgets)]
    if REFERENCE in curves:
        intro = "Differences are paired by problem and seed, with 95 % intervals bootstrapped over problems."
        parts += [intro, difference_table(curves, args.budgets, REFERENCE)]
    claims = [(a, b) for a, b in CLAIMS if a in curves and b in curves]
    if claims:
        parts += ["The fewest tokens at which the second column's method is as accurate as the first's:"]
        parts += [reach_table(curves, method, reference) for method, reference in claims]
    return "\n\n".join(parts)


def write(curves: Curves, apart: Curves, outcomes: Outcomes, args: argparse.Namespace) -> None:
    """curves.json, curves.md and the pictures, in the output folder."""
    versions = next(iter(outcomes.values())).summary["versions"]
    points = {strategy: [asdict(p) for p in points] for strategy, points in {**curves, **apart}.items()}
    content = {"of": caption(args), "versions": versions, "curves": points}
    (args.out / "curves.json").write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    each = [f"## {strategy}\n\n{curve_table(points)}" for strategy, points in {**curves, **apart}.items()]
    compared = [tables(curves, args)] if curves else []
    (args.out / "curves.md").write_text("\n\n".join([*compared, *each]) + "\n")
    if not can_plot():
        print("no pictures: matplotlib is not installed (the bench extra)")
    elif curves:
        plot_all(curves, caption(args), [args.out / "curves.png", args.out / "curves.svg"])


def write_docs(curves: Curves, apart: Curves, args: argparse.Namespace) -> None:
    """The tables between a document's comments, and a picture for each strategy in the folder beside it."""
    folder = args.docs.with_suffix("")
    folder.mkdir(exist_ok=True)
    document = args.docs.read_text()
    if curves:
        document = filled(document, "measured", _shown(tables(curves, args), folder, "all"))
        if can_plot():
            plot_all(curves, caption(args), [folder / "all.svg"])
    for family in (curves, apart):
        for strategy, points in family.items():
            text = f"{caption(args)}.\n\n{curve_table(points)}"
            document = filled(document, f"measured {strategy}", _shown(text, folder, strategy))
            if can_plot():
                plot_one(family, strategy, caption(args), folder / f"{strategy}.svg")
    args.docs.write_text(document)


def _shown(text: str, folder: Path, name: str) -> str:
    picture = f"![accuracy against cost: {name}]({folder.name}/{name}.svg)"
    return f"{text}\n\n{picture}" if can_plot() else text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--strategies", nargs="+", default=names())
    parser.add_argument("--budgets", nargs="+", type=int, default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--problems", type=int, default=FULL[0])
    parser.add_argument("--seeds", type=int, default=FULL[1])
    parser.add_argument("--split", default="test")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_strategies"))
    parser.add_argument("--isolated", action="store_true", help="a process of its own for each point")
    parser.add_argument("--docs", type=Path, help="a document to put the tables into")
    parser.add_argument("overrides", nargs="*", help="further keys for run.py")
    args = parser.parse_args()
    args.budgets = sorted(set(args.budgets))
    sweep, seeds = (
        Sweep(args.out / "runs", args.problems, args.split, tuple(args.overrides)),
        range(args.seeds),
    )
    sweep.run(wanted(args.strategies, args.budgets, seeds), isolated=args.isolated)
    outcomes = sweep.read()
    curves, apart = (
        curves_of(outcomes, [s for s in args.strategies if brings_its_own(s) is own], args.budgets, seeds)
        for own in (False, True)
    )
    write(curves, apart, outcomes, args)
    print((args.out / "curves.md").read_text())
    if args.docs is not None:
        write_docs(curves, apart, args)


if __name__ == "__main__":
    main()
