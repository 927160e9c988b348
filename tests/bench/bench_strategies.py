"""Every table of strategies in the documents: ``python -m tests.bench.bench_strategies``.

Eight parts, each of which runs only what is missing in ``--out``, so that a bench that was cut off resumes:

- ``chain``: every strategy at every budget and the shipped temperature, and how many times fewer samples a
  method needs than another;
- ``tuned``: the same at the temperature that development problems choose for each;
- ``astar``: the knobs of A* on development problems;
- ``confirmation``: A* and the filter on problems and seeds that no choice has seen;
- ``countdown``: particle filters, best of N and A* where the verifier is confident too early;
- ``horizon``: particle filters on long chains, where the verifier is confidently wrong early;
- ``hex``: the votes of masked diffusion, and HEX beside single schedules with as many paths;
- ``diffusion``: the options of the diffusion engine (tests/bench/bench_diffusion.py); its speeds need a
  machine that does nothing else.

On two idle cores all of it takes some ten hours, and a sixth of that with ``--problems 100 --seeds 1``.

Each part writes its figures to ``--data``. ``--docs`` then renders docs/strategies.md, docs/diffusion.md,
the table of README.md and the pictures from the files there; ``--parts`` without a value only renders.
Runs are in this process, without Ray, with as many problems at once as run.py has; ``--isolated`` starts a
process for each point instead, for wall times that no warm cache shortens.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.bench.measuring import Measuring, at_temperatures, best_temperatures
from tests.bench.methods import (
    REFERENCE,
    SYSTEMATIC,
    TEMPERATURES,
    Method,
    confirmed,
    of_astar,
    on_chain,
    on_countdown,
    on_long_chain,
    schedule,
)
from tests.bench.pages import blocks_of, fill, stored
from tests.bench.plots import can_plot, plot_all, plot_one
from tests.bench.stored import DATA, Table, write_table
from tests.bench.strategy_pages import FULL, Tables, provenance
from tests.bench.sweeps import REPOSITORY

BUDGETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
DEVELOPMENT_BUDGET = 8
ASTAR_BUDGET = (16,)
CONFIRMATION_BUDGETS = (12, 16)
CONFIRMATION_FIRST, CONFIRMATION_SEEDS = 6000, (3, 4, 5, 6)
ASTAR_TASKS = (("chain", (), 2.0, (0, 1)), ("countdown", ("engine=countdown",), 1.5, (0,)))
"""Keys, how many times as many problems as other choices take, and seeds."""
COUNTDOWN_BUDGETS = HORIZON_BUDGETS = (4, 8, 16)
# As conf/experiment/embedded_long_chain.yaml has it: a solution has 17 steps.
HORIZON = (
    "task=long_chain",
    "engine.model=embedded:long_chain-policy",
    "verifier.model=embedded:long_chain-verifier",
    "task.max_steps=100",
)
PATHS = (1, 2, 5, 10, 25)
EQUAL_PATHS = (10, 25)
BLOCKS = (2, 4, 6, 12, 24)


def measuring(args: argparse.Namespace, task: str, split: str, *keys: str) -> Measuring:
    problems = args.problems if split == "test" else args.development_problems
    seeds = tuple(args.only_seeds or range(args.seeds)) if split == "test" else (0,)
    return Measuring(args.out / "runs", task, split, problems, seeds, (*keys, *args.overrides), args.isolated)


def chosen(methods: Sequence[Method], args: argparse.Namespace) -> list[Method]:
    """The methods at the temperatures that development problems choose."""
    bench, budget = measuring(args, "chain", "dev"), (DEVELOPMENT_BUDGET,)
    development = bench.table(at_temperatures(methods, args.temperatures), budget)
    write_table("chain_development", development, args.data)
    best = best_temperatures(development, methods)
    return [replace(method, temperature=best.get(method.name)) for method in methods]


def chain(args: argparse.Namespace) -> None:
    table = measuring(args, "chain", "test").table(selected(on_chain(), args), args.budgets, REFERENCE)
    write_table("chain", table, args.data)


def tuned(args: argparse.Namespace) -> None:
    methods = chosen(selected(on_chain(), args), args)
    table = measuring(args, "chain", "test").table(methods, args.budgets, REFERENCE)
    write_table("chain_tuned", table, args.data)


def astar(args: argparse.Namespace) -> None:
    """The knobs of A*, on development problems of two tasks."""
    for task, keys, times, seeds in ASTAR_TASKS:
        bench = measuring(args, task, "dev", *keys)
        bench = replace(bench, problems=round(times * bench.problems), seeds=seeds)
        write_table(f"astar_{task}", bench.table(of_astar(), ASTAR_BUDGET), args.data)


def confirmation(args: argparse.Namespace) -> None:
    bench = measuring(args, "chain", "test", f"task.offset={CONFIRMATION_FIRST}")
    bench = replace(bench, first=CONFIRMATION_FIRST, seeds=CONFIRMATION_SEEDS)
    write_table("astar_confirmation", bench.table(confirmed(), CONFIRMATION_BUDGETS, REFERENCE), args.data)


def countdown(args: argparse.Namespace) -> None:
    bench = measuring(args, "countdown", "test", "engine=countdown")
    table = bench.table(selected(on_countdown(), args), COUNTDOWN_BUDGETS, SYSTEMATIC)
    write_table("countdown", table, args.data)


def horizon(args: argparse.Namespace) -> None:
    bench = measuring(args, "long_chain", "test", *HORIZON)
    methods = selected(on_long_chain(), args)
    write_table("long_chain", bench.table(methods, HORIZON_BUDGETS, SYSTEMATIC), args.data)


def hexes(args: argparse.Namespace) -> None:
    """The votes by number of paths; then HEX beside two best schedules, the median, and both."""
    bench = measuring(args, "twoway", "test")
    votes = [Method("hex", "hex"), Method("hex_weighted", "hex_weighted")]
    write_table("hex", bench.table(votes, PATHS), args.data)
    singles = [schedule((block,)) for block in BLOCKS]
    development = measuring(args, "twoway", "dev").table(singles, EQUAL_PATHS[:1])
    write_table("hex_development", development, args.data)
    ranked = sorted(singles, key=lambda m: -development.curves[m.name][0].accuracy.value)
    both = schedule(tuple(sorted(BLOCKS[singles.index(method)] for method in ranked[:2])))
    compared = [votes[0], *ranked[:2], ranked[len(ranked) // 2], both]
    write_table("hex_schedules", bench.table(compared, EQUAL_PATHS, "hex"), args.data)


def diffusion(args: argparse.Namespace) -> None:
    from tests.bench import bench_diffusion  # which imports torch

    bench_diffusion.write(bench_diffusion.defaults(), args.data)


PARTS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "chain": chain,
    "tuned": tuned,
    "astar": astar,
    "confirmation": confirmation,
    "countdown": countdown,
    "horizon": horizon,
    "hex": hexes,
    "diffusion": diffusion,
}


def selected(methods: Sequence[Method], args: argparse.Namespace) -> list[Method]:
    return [m for m in methods if not args.strategies or m.name in args.strategies]


def render(tables: Tables, folder: Path) -> None:
    """Fill the documents, and draw the pictures where matplotlib is installed (the bench extra)."""
    for page, blocks in blocks_of(tables, folder).items():
        fill(REPOSITORY / page, blocks)
    if not can_plot():
        print("no pictures: matplotlib is not installed (the bench extra)")
        return
    for name in ("chain", "hex"):
        if name in tables and tables[name].is_complete:
            draw(tables[name], REPOSITORY / "docs" / "strategies")


def draw(table: Table, folder: Path) -> None:
    """One picture for each strategy; one of all where they can be compared."""
    folder.mkdir(exist_ok=True)
    for name in table.curves:
        if name != SYSTEMATIC:
            plot_one(table.curves, name, provenance(table).removesuffix("."), folder / f"{name}.svg")
    if REFERENCE in table.curves:
        plot_all(table.curves, provenance(table).removesuffix("."), [folder / "all.svg"])


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--strategies", nargs="+", default=[], help="rows by name; all by default")
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS))
    parser.add_argument("--problems", type=int, default=FULL[0])
    parser.add_argument("--seeds", type=int, default=FULL[1])
    parser.add_argument("--only-seeds", nargs="*", type=int, help="these, to share the work among processes")
    parser.add_argument("--development-problems", type=int, default=100)
    parser.add_argument("--temperatures", nargs="+", type=float, default=list(TEMPERATURES))
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_strategies"))
    parser.add_argument("--data", type=Path, help="where figures go: docs/data with --docs, else into --out")
    parser.add_argument("--isolated", action="store_true", help="a process of its own for each point")
    parser.add_argument("--docs", action="store_true", help="render the documents from docs/data")
    parser.add_argument("overrides", nargs="*", help="further keys for run.py, after --")
    args = parser.parse_args(given)
    args.budgets = tuple(sorted(set(args.budgets)))
    args.data = args.data or (DATA if args.docs else args.out / "data")
    return args


def main() -> None:
    args = arguments()
    for part in args.parts:
        PARTS[part](args)
    if args.docs:
        render(stored(args.data), args.data)


if __name__ == "__main__":
    main()
