"""``python -m orchestrator.difficulty SWEEP_DIR reference=RUN_DIR``: accuracy by difficulty of the problems.

Which method is best depends on how hard a problem is for the policy (Snell et al. 2024, arXiv 2408.03314):
their table bins problems into quintiles of the pass rate of plain samples. The reference is a run whose
candidates are such samples, best of ``strategy=self_consistency`` with a large budget, on the same problems.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from orchestrator.arguments import read_arguments
from orchestrator.errors import ConfigError
from orchestrator.events import warnings_shown
from orchestrator.intervals import difficulty_levels
from orchestrator.progress import stdout_console
from orchestrator.results import SUMMARY, stream_results
from orchestrator.run_files import read_summary
from orchestrator.terminal import complain

NUM_LEVELS = 5
Levels = Mapping[str, int]
"""From problem id to its level, 1 for the easiest."""


def pass_rates(reference: Path) -> dict[str, float]:
    """By problem, the share of right candidates in a run. Raises ConfigError where it has no results."""
    rates = {
        str(line["problem_id"]): sum(bool(c["correct"]) for c in line["candidates"]) / len(line["candidates"])
        for line in stream_results(reference)
        if line["candidates"]
    }
    if not rates:
        raise ConfigError("reference", reference, "must be the directory of a run with results")
    return rates


def levels_of(rates: Mapping[str, float]) -> Levels:
    """Fifths of the problems by their pass rates."""
    return dict(zip(rates, difficulty_levels(list(rates.values()), NUM_LEVELS), strict=True))


def accuracy_by_level(run_dir: Path, levels: Levels) -> list[tuple[int, int]]:
    """(right, all) of each level; problems that the reference does not have are left out."""
    right, counts = [0] * NUM_LEVELS, [0] * NUM_LEVELS
    for line in stream_results(run_dir):
        level = levels.get(str(line["problem_id"]))
        if level is not None:
            counts[level - 1] += 1
            right[level - 1] += bool(line["correct"])
    return list(zip(right, counts, strict=True))


def table_of(folder: Path, levels: Levels) -> Table:
    """A line for each run at or below ``folder``. Raises ConfigError where there is none."""
    runs = sorted(path.parent for path in folder.rglob(SUMMARY))
    if not runs:
        raise ConfigError("SWEEP_DIR", folder, "holds no finished run")
    table = Table(title="accuracy by difficulty, 1 is the easiest fifth", box=SIMPLE)
    table.add_column("run", overflow="fold")
    for level in range(1, NUM_LEVELS + 1):
        table.add_column(str(level), justify="right")
    for run_dir in runs:
        summary = read_summary(run_dir, "SWEEP_DIR")
        name = f"{summary['strategy']} budget={summary['budget']} seed={summary['seed']}"
        shares = (f"{r / n:.3f} ({n})" if n else "-" for r, n in accuracy_by_level(run_dir, levels))
        table.add_row(name, *shares)
    return table


def main(arguments: Sequence[str]) -> int:
    """Print the table; 2 and one line for bad arguments."""
    console = stdout_console()
    try:
        folder, options = read_arguments(arguments, {"reference": ""}, "SWEEP_DIR")
        if not options["reference"]:
            raise ConfigError("reference", None, "must be the directory of a run of plain samples")
        console.print(table_of(folder, levels_of(pass_rates(Path(options["reference"])))))
    except ConfigError as mistake:
        complain(str(mistake))
        return 2
    return 0


if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
