"""What the journal costs a real run: ``python -m tests.bench.bench_journal``.

The embedded default through run.py, with all its files, in pairs: as it is, and with journals that keep
nothing. Beside the wall times stands the processor time that was spent in the journal's code (digests, lines,
writes, files opened and removed), measured call by call, as a share of the wall time: that one does not
depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from orchestrator.observe.progress import run_console
from orchestrator.runs.execution import Status
from orchestrator.runs.main import run_command
from orchestrator.runs.models import Models
from orchestrator.storage import journal
from orchestrator.storage.journal import Journal, Journals
from tests.bench.curves import markdown

# All that a run does for its journal and would not do without one.
PARTS: tuple[tuple[Any, str], ...] = (
    (journal, "digest_of"),
    (Journal, "record"),
    (Journal, "enter"),
    (Journal, "decide"),
    (Journals, "open"),
    (Journals, "done"),
)


@dataclass
class Spent:
    """Processor seconds in the parts, and calls of them."""

    seconds: float = 0.0
    num_calls: int = 0


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def watched(spent: Spent) -> Iterator[None]:
    """Adds up what the parts take. None of them calls another."""

    def timed(part: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **knobs: Any) -> Any:
            begun = time.thread_time()
            try:
                return part(*args, **knobs)
            finally:
                spent.seconds += time.thread_time() - begun
                spent.num_calls += 1

        return call

    parts = [replaced(owner, name, timed(getattr(owner, name))) for owner, name in PARTS]
    for part in parts:
        part.__enter__()
    try:
        yield
    finally:
        for part in reversed(parts):
            part.__exit__(None, None, None)


def wall_seconds(models: Models, folder: Path, overrides: list[str]) -> float:
    """Of the search alone, as the run's own summary has it."""
    status = run_command([f"run_dir={folder}", *overrides], models)
    assert status == Status.FINISHED, status
    return float(json.loads((folder / "summary.json").read_text())["wall_seconds"])


def measure(args: argparse.Namespace) -> str:
    models, rows, shares, ratios = Models(), list[list[str]](), list[float](), list[float]()
    run_console().quiet = True
    overrides = [f"task.limit={args.problems}", f"budget={args.budget}", *args.overrides]
    try:
        for pair in range(-1, args.pairs):  # the first one warms up
            with tempfile.TemporaryDirectory() as folder:
                spent = Spent()
                with watched(spent):
                    kept = wall_seconds(models, Path(folder, "kept"), overrides)
                with replaced(Journals, "open", lambda journals, problem_id: Journal()):
                    none = wall_seconds(models, Path(folder, "none"), overrides)
            if pair >= 0:
                shares.append(spent.seconds / kept)
                ratios.append(kept / none)
                cost = [f"{1000 * spent.seconds:.0f}", f"{100 * shares[-1]:.2f} %"]
                rows.append([str(pair + 1), f"{kept:.1f}", f"{none:.1f}", f"{ratios[-1]:.3f}", *cost])
    finally:
        models.close()
    header = ["pair", "seconds", "without a journal", "ratio", "CPU ms in the journal", "share of wall time"]
    figures = f"median: {100 * median(shares):.2f} % of the wall time; ratio {median(ratios):.3f}"
    return f"{markdown(header, rows)}\n\n{figures}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("overrides", nargs="*", help="of the run, such as strategy=astar")
    print(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
