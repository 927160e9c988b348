"""``python -m orchestrator.report RUN_OR_SWEEP_DIR [out=DIR] [searches_mb=32]``."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.arguments import read_arguments
from orchestrator.errors import ConfigError
from orchestrator.report.page import write_report

USAGE = """usage: python -m orchestrator.report RUN_OR_SWEEP_DIR [out=DIR] [searches_mb=32]

Writes report.html, one file that needs no network, and figures/ (SVG and PNG) into RUN_OR_SWEEP_DIR, or
into out. searches_mb bounds what the searches of single problems take of the page."""


def main(arguments: list[str]) -> int:
    """Write the report and print its path; 2 and one line for bad arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        folder, options = read_arguments(arguments, {"out": "", "searches_mb": "32"}, "RUN_OR_SWEEP_DIR")
        try:
            megabytes = float(options["searches_mb"])
        except ValueError:
            megabytes = -1.0
        if not megabytes >= 0:
            raise ConfigError("searches_mb", options["searches_mb"], "must be a number of 0 or more")
        page = write_report(folder, Path(options["out"] or folder), megabytes * 2**20)
    except ConfigError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
