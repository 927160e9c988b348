"""``python -m orchestrator.saturation RUN_DIR [pilot=8] [epsilon=0.005] [measure=pass|best|majority]``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from orchestrator.allocation.saturation_study import MEASURES, Study, study
from orchestrator.allocation.surface import surface
from orchestrator.config.arguments import read_arguments
from orchestrator.config.build import build_task
from orchestrator.config.command_line import take_trust
from orchestrator.config.trust import refuse, shipped, wishes_of_config
from orchestrator.errors import ConfigError
from orchestrator.observe.events import warnings_shown
from orchestrator.observe.progress import stdout_console
from orchestrator.protocols import Task
from orchestrator.samples.stored import Keys, StoredSamples, read_stored
from orchestrator.saturation.tables import bounds_table, saturation_table, surface_table
from orchestrator.storage.run_files import CONFIG, parse_config
from orchestrator.storage.signing import is_own, signed_bytes
from orchestrator.suggest import nearest
from orchestrator.terminal import complain

USAGE = """usage: python -m orchestrator.saturation RUN_DIR [KEY=VALUE ...]

Fits curves of accuracy against the number of samples N to a pilot, and shows where they saturate.
RUN_DIR is a run of independent samples (best_of_n, self_consistency, hex); no model runs.
  pilot=     how many samples a problem the curves are fitted to (8)
  epsilon=   N* is the smallest N whose next sample adds less accuracy than this (0.005)
  measure=   pass (a right sample is among N), best (the verifier chooses) or majority
  trust=     true: build the task that RUN_DIR names although another user has written it"""
DEFAULTS = {"pilot": "8", "epsilon": "0.005", "measure": "pass"}


def task_keys(folder: Path, *, trusts: bool) -> Keys:
    """Return what makes keys of answers: the run's task.

    Raises ConfigError for a task that no file of the groups names, unless the run is the user's own.
    """
    files = signed_bytes(folder)
    if CONFIG not in files:
        raise ConfigError("RUN_DIR", folder, f"has no {CONFIG}: it must be the directory of one run")
    config = parse_config(files[CONFIG], folder, "RUN_DIR")
    if not trusts and not is_own(folder, files):
        refuse("RUN_DIR", folder, wishes_of_config({"task": config["task"]}, shipped()))
    task: Task = build_task(config["task"])
    return lambda answers: asyncio.run(task.keys(answers))


def run_study(stored: StoredSamples, options: dict[str, str]) -> Study:
    """Return the study that a command line requests. Raises ConfigError."""
    pilot, epsilon, measure = options["pilot"], options["epsilon"], options["measure"]
    most = max(len(right) for right in stored.samples.right)
    if not pilot.isdecimal() or not 2 <= int(pilot) <= most:
        raise ConfigError("pilot", pilot, f"must be 2..{most}: the run has no more samples of a problem")
    try:
        epsilon_value = float(epsilon)
    except ValueError:
        epsilon_value = 0.0
    if not 0 < epsilon_value < 1:
        raise ConfigError("epsilon", epsilon, "must be a number in (0, 1)")
    if measure not in MEASURES:
        allowed = f"must be one of {', '.join(MEASURES)}{nearest(measure, MEASURES)}"
        raise ConfigError("measure", measure, allowed)
    if measure == "best" and not stored.has_rewards:
        raise ConfigError("measure", measure, "needs rewards, and the run was made without a verifier")
    chosen = next(name for name in MEASURES if name == measure)
    return study(stored.samples, int(pilot), epsilon_value, chosen)


def main(arguments: list[str]) -> int:
    """Print the tables and return the exit status: 2, with one line, for what cannot be measured."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    try:
        trusts, arguments = take_trust(arguments)
        folder, options = read_arguments(arguments, DEFAULTS, "RUN_DIR")
        stored = read_stored(folder, keys=task_keys(folder, trusts=trusts))
        found = run_study(stored, options)
    except ConfigError as mistake:
        complain(str(mistake))
        return 2
    except OSError as failure:
        complain(f"RUN_DIR: {failure}")
        return 2
    console = stdout_console()
    most = min(len(right) for right in stored.samples.right)
    console.print(saturation_table(found))
    console.print(bounds_table(stored.samples, most))
    if stored.has_rewards:
        console.print(surface_table(surface(stored.samples.right, stored.samples.log_odds, most)))
    return 0


if __name__ == "__main__":
    with warnings_shown():
        sys.exit(main(sys.argv[1:]))
