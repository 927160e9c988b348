"""What the benchmarks of development samples share: their command line, their runs and their files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.storage.atomic import write_atomically
from tests.bench.adaptive_rules import N
from tests.bench.adaptive_samples import Drawing
from tests.bench.measuring import commit
from tests.bench.pages import fill
from tests.bench.pilot_pages import pilot_blocks
from tests.bench.stored import DATA, spread_out
from tests.bench.sweeps import REPOSITORY

TASKS = ("chain", "countdown")


def arguments(doc: str | None) -> argparse.Namespace:
    """Return what a benchmark of development samples was started with."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_adaptive"))
    parser.add_argument("--docs", action="store_true", help="write docs/data and the page")
    return parser.parse_args()


def drawing(args: argparse.Namespace, task: str) -> Drawing:
    """Return where the samples of a task are: beside those of bench_adaptive."""
    return Drawing(args.out / "runs", task, args.problems, N, args.samples, (0,))


def size(args: argparse.Namespace) -> dict[str, int]:
    """Return how much was drawn of each task."""
    return {"problems": args.problems, "samples": args.samples, "seed": 0}


def publish(name: str, args: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """Print the figures; with ``--docs`` keep them in docs/data/NAME.json and fill the page of that name."""
    text = spread_out({"commit": commit(), **found}) + "\n"
    print(text)
    (args.out / f"{name}.json").write_text(text)
    if args.docs:
        write_atomically(DATA / f"{name}.json", text)
        for page, blocks in pilot_blocks().items():
            fill(REPOSITORY / page, blocks)
