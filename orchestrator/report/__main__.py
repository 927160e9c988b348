"""``python -m orchestrator.report RUN_OR_SWEEP_DIR [out=DIR] [KEY=VALUE ...]``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from orchestrator.config.arguments import read_arguments
from orchestrator.errors import ConfigError
from orchestrator.observe.events import warnings_shown
from orchestrator.report.page import write_report
from orchestrator.terminal import complain, printable, take_any_text

USAGE = """usage: python -m orchestrator.report RUN_OR_SWEEP_DIR [KEY=VALUE ...]

Writes report.html, one file that needs no network, and figures/ (SVG and PNG) into RUN_OR_SWEEP_DIR.
  out=          another folder for them
  reference=    the directory of a run of independent samples, from which the difficulty of a problem is
                estimated; by default the largest such run in the report
  searches_mb=  the most that the searches of single problems take of the page (32)
  larger=       M, above 1: what a search may spend before a model of M times the parameters costs as much"""
OPTIONS = {"out": "", "reference": "", "searches_mb": "32", "larger": ""}


def main(arguments: list[str]) -> int:
    """Write the report and print its path; 2 and one line for bad arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        folder, options = read_arguments(arguments, OPTIONS, "RUN_OR_SWEEP_DIR")
        megabytes = _number(options["searches_mb"])
        if not megabytes >= 0:
            raise ConfigError("searches_mb", options["searches_mb"], "must be a number of 0 or more")
        larger = _number(options["larger"]) if options["larger"] else None
        if larger is not None and not 1 < larger < math.inf:
            raise ConfigError("larger", options["larger"], "must be a number above 1")
        reference = Path(options["reference"]) if options["reference"] else None
        page = write_report(folder, Path(options["out"] or folder), megabytes * 2**20, reference, larger)
    except ConfigError as mistake:
        complain(str(mistake))
        return 2
    except OSError as failure:
        complain(f"out: {failure}")
        return 2
    take_any_text()
    print(printable(str(page)))
    return 0


def _number(text: str) -> float:
    """Return a number; NaN for any other text."""
    try:
        return float(text)
    except ValueError:
        return math.nan


if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
