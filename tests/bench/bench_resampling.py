"""Where the entropic filter's lead on Countdown comes from: ``python -m tests.bench.bench_resampling``.

The entropic filter anneals and resamples systematically; the plain filter does neither by default. Beside
both is the plain filter with ``resampling=systematic``. What is complete is not run again. ``--docs`` writes
docs/data/resampling.json and the table of docs/strategies.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench.measuring import Measuring
from tests.bench.methods import SYSTEMATIC, on_countdown
from tests.bench.pages import compared, fill, stored, strategy_blocks
from tests.bench.stored import DATA, write_table
from tests.bench.sweeps import REPOSITORY

BUDGET = 8
FILTERS = ("particle_filter", SYSTEMATIC, "entropic_particle_filter")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_resampling"))
    parser.add_argument("--docs", action="store_true", help="write docs/data and docs/strategies.md")
    args = parser.parse_args()
    seeds = tuple(range(args.seeds))
    bench = Measuring(args.out / "runs", "countdown", "test", args.problems, seeds, ("engine=countdown",))
    methods = [method for method in on_countdown() if method.name in FILTERS]
    table = bench.table(methods, (BUDGET,), SYSTEMATIC)
    write_table("resampling", table, DATA if args.docs else args.out)
    print(compared(table))
    if args.docs:
        fill(REPOSITORY / "docs" / "strategies.md", strategy_blocks(stored()))


if __name__ == "__main__":
    main()
