"""How long the report of 10,000 problems takes to open: ``python -m tests.bench.bench_report``.

The run is a real one, a particle filter on the shipped models, its result lines repeated under new names.
Wall time is from the call that opens the file to a page that answers: figures drawn, the table of problems
filled, its search working. Each round is a browser of its own, which has read nothing before. Processor time
is that of the page's main thread. The search box is timed from the last key to the row that was sought.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser
from rich.console import Console
from rich.table import Table

from tests.orchestrator.real_runs import make_run
from tests.orchestrator.report.large_report import launched, write_large_report

NUM_REAL = 40
TARGET_S = 2.0


@dataclass(frozen=True)
class Opening:
    """Seconds: until the page answers, of that on its main thread, to search, and to draw one search."""

    wall: float
    processor: float
    search: float
    drawing: float


def open_once(browser: Browser, page_path: Path, num_problems: int) -> Opening:
    """Open the report, find its last problem and open that."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(120_000)
    clock = page.context.new_cdp_session(page)
    clock.send("Performance.enable", {"timeDomain": "threadTicks"})
    begun = time.perf_counter()
    page.goto(page_path.as_uri(), wait_until="commit")
    page.wait_for_selector("html[data-ready]", state="attached")
    wall = time.perf_counter() - begun
    metrics = {m["name"]: m["value"] for m in clock.send("Performance.getMetrics")["metrics"]}
    begun = time.perf_counter()
    page.fill("#search", f"question {num_problems - 1}")
    page.get_by_text(f"problem-{num_problems - 1}", exact=True).wait_for()
    search = time.perf_counter() - begun
    page.fill("#search", "question 0")
    begun = time.perf_counter()
    page.get_by_role("button", name="problem-0", exact=True).click()
    page.wait_for_selector("#detail[data-ready='problem-0']")
    drawing = time.perf_counter() - begun
    page.close()
    return Opening(wall, metrics["ThreadTime"], search, drawing)


def make_table(openings: Sequence[Opening], title: str) -> Table:
    """A row a round, and the medians."""
    table = Table(title=title)
    for name in ("round", "open, s", "of it processor, s", "search, s", "draw a search, s"):
        table.add_column(name, justify="right")
    rows = [astuple(opening) for opening in openings]
    for i, row in enumerate(rows, 1):
        table.add_row(str(i), *(f"{x:.2f}" for x in row))
    table.add_row("median", *(f"{median(column):.2f}" for column in zip(*rows, strict=True)))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        keys = ("strategy=particle_filter", f"budget={args.budget}", f"task.limit={NUM_REAL}")
        source = make_run(Path(folder) / "source", *keys)
        begun = time.perf_counter()
        page = write_large_report(source, Path(folder) / "large", args.problems)
        written = time.perf_counter() - begun
        size = page.stat().st_size / 2**20
        openings = []
        for _ in range(args.rounds):
            with launched() as browser:
                openings.append(open_once(browser, page, args.problems))
    title = f"{args.problems:,} problems, N = {args.budget}: {size:.1f} MiB, written in {written:.1f} s"
    Console().print(make_table(openings, title))
    print(f"target: opens in less than {TARGET_S:g} s")


if __name__ == "__main__":
    main()
