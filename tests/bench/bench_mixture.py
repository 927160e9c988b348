"""Mixture beside other searches where constraints are exact: ``python -m tests.bench.bench_mixture``.

Runs each on the same Countdown problems with the verifier that carries out the task's constraints; what is
complete is not run again. ``--docs`` writes docs/data/mixture.json and the table of docs/roles.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from orchestrator.storage.atomic import write_atomically
from tests.bench.measuring import commit
from tests.bench.pages import fill
from tests.bench.role_pages import mixture, roles_blocks
from tests.bench.stored import DATA, spread_out
from tests.bench.sweeps import REPOSITORY, Outcome, Point, Sweep

KEYS = ("task=countdown", "engine=countdown", "verifier=countdown_constraints")
# The shipped policy reads the question alone.
BARE = ("strategy.prompt=null", "strategy.prior=null")
OTHERS = ("best_of_n", "rebase", "tree_of_thoughts")
SEED = 0


def row(outcome: Outcome) -> dict[str, Any]:
    """Return what a run solved and spent; tokens are those of all problems."""
    summary = outcome.summary
    return {
        "right": sum(bool(line["correct"]) for line in outcome.lines),
        "accuracy": [round(x, 6) for x in (summary["accuracy"], *summary["accuracy_ci95"])],
        "tokens": summary["usage"]["generated_tokens"],
        "sequential": summary["usage"]["sequential_tokens"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--budget", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_mixture"))
    parser.add_argument("--docs", action="store_true", help="write docs/data and docs/roles.md")
    args = parser.parse_args()
    found = {}
    for name in ("mixture", *OTHERS):
        keys = (*KEYS, *(BARE if name == "mixture" else ()))
        sweep = Sweep(args.out / name, args.problems, "test", keys, in_process=True)
        point = Point(args.budget, name, SEED)
        sweep.run([point])
        found[name] = row(sweep.read()[point])
    size = {"problems": args.problems, "budget": args.budget, "seed": SEED}
    content = {"commit": commit(), **size, "rows": found}
    print(mixture(content))
    if args.docs:
        write_atomically(DATA / "mixture.json", spread_out(content) + "\n")
        fill(REPOSITORY / "docs" / "roles.md", roles_blocks())


if __name__ == "__main__":
    main()
