"""``python -m orchestrator.calibrate RUN_DIR to=FILE [map=isotonic|temperature|quantile] [at=last|each]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from orchestrator.allocation.calibration import ATS, MAPS
from orchestrator.allocation.reliability import Quality
from orchestrator.calibrate.fitting import Fitted, fit_calibration
from orchestrator.config.arguments import read_arguments
from orchestrator.errors import ConfigError
from orchestrator.observe.events import warnings_shown
from orchestrator.observe.progress import stdout_console
from orchestrator.samples.stored import read_stored
from orchestrator.suggest import nearest
from orchestrator.terminal import complain

USAGE = """usage: python -m orchestrator.calibrate RUN_DIR to=FILE [KEY=VALUE ...]

Fits a rising map of the verifier's rewards to a run of independent samples, and writes it into a file for
verifier.calibration=FILE.
  to=    the file
  map=   isotonic, temperature (a scale and a shift of the log-odds) or quantile (needs no labels)
  at=    last: one map, fitted to the last reward; each: one a step"""
DEFAULTS = {"to": "", "map": "isotonic", "at": "last"}


def chosen(key: str, value: str, names: Sequence[str]) -> str:
    """Return one of the names. Raises ConfigError for any other."""
    if value not in names:
        raise ConfigError(key, value, f"must be one of {', '.join(names)}{nearest(value, names)}")
    return value


def quality_table(fitted: Fitted) -> Table:
    """Return ECE, Brier score and AUC: by step, of the last rewards, and of held-out mapped ones."""
    table = Table()
    for name in ("rewards", "samples", "ECE", "Brier", "AUC"):
        table.add_column(name, no_wrap=True)
    for i, each in enumerate(fitted.steps, 1):
        table.add_row(f"step {i}", *_cells(each))
    table.add_row("last", *_cells(fitted.before), style="bold")
    table.add_row("last, mapped (held out)", *_cells(fitted.after), style="bold")
    return table


def _cells(each: Quality) -> list[str]:
    return [
        f"{each.num:,}",
        f"{each.ece:.4f}",
        f"{each.brier:.4f}",
        "" if each.auc is None else f"{each.auc:.3f}",
    ]


def main(arguments: list[str]) -> int:
    """Write the file, print the table and return the exit status: 2, with one line, for bad arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        folder, options = read_arguments(arguments, DEFAULTS, "RUN_DIR")
        if not options["to"]:
            raise ConfigError("to", None, "must be the file to write")
        name, at = chosen("map", options["map"], MAPS), chosen("at", options["at"], ATS)
        fitted = fit_calibration(
            read_stored(folder), folder, next(m for m in MAPS if m == name), next(a for a in ATS if a == at)
        )
        fitted.write(Path(options["to"]))
    except ConfigError as mistake:
        complain(str(mistake))
        return 2
    except OSError as failure:
        complain(f"RUN_DIR: {failure}")
        return 2
    console = stdout_console()
    console.print(quality_table(fitted))
    console.print(f"calibration: {options['to']}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
