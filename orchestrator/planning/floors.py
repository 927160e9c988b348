"""``python -m orchestrator.allocation floors RUN_DIR to=FILE``: below which reward a problem is given up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from orchestrator.allocation.floors import NUM_FOLDS, Floor, fit_floors, never_solved
from orchestrator.config.arguments import read_arguments
from orchestrator.config.planned import FLOORS
from orchestrator.errors import ConfigError
from orchestrator.samples.stored import StoredSamples, read_stored
from orchestrator.storage.fitted_files import digest_text, write_fitted

USAGE = """usage: python -m orchestrator.allocation floors RUN_DIR to=FILE

Fits to a pilot, a run of independent samples with rewards, below which reward allocator=rounds gives up a
problem (allocator.give_up=FILE): after 2, 4, 8, ... samples, as many problems as the policy never solves.
  to=         the file"""


def fit_file(arguments: list[str]) -> tuple[list[Floor], float, Path]:
    """Write the file; return its floors and the share that is never solved. Raises ConfigError."""
    folder, options = read_arguments(arguments, {"to": ""}, "RUN_DIR")
    if not options["to"]:
        raise ConfigError("to", None, "must be the file to write")
    stored = read_stored(folder)
    floors = _floors(stored, folder)
    share = never_solved(stored.samples.right)
    write_fitted(Path(options["to"]), FLOORS, _content(stored.config, floors, share))
    return floors, share, Path(options["to"])


def _floors(stored: StoredSamples, folder: Path) -> list[Floor]:
    if (num := len(stored.samples.right)) < NUM_FOLDS:
        allowed = f"has {num} problem with samples, and the floors of one half are judged on the other: "
        raise ConfigError("RUN_DIR", folder, f"{allowed}give {NUM_FOLDS} or more")
    sizes = {len(each) for each in stored.samples.right}
    if not stored.has_rewards:
        raise ConfigError("RUN_DIR", folder, "was run without rewards")
    if len(sizes) != 1:
        raise ConfigError(
            "RUN_DIR", folder, "has problems with fewer samples than others: a pilot has N each"
        )
    rewards = [1.0 / (1.0 + np.exp(-each)) for each in stored.samples.log_odds]
    nums = [2**i for i in range(1, max(sizes).bit_length()) if 2**i <= max(sizes)]
    return fit_floors(stored.samples.right, rewards, nums or [1])


def _content(config: Mapping[str, Any], floors: list[Floor], share: float) -> dict[str, Any]:
    return {
        "floors": {str(f.num_samples): f.level for f in floors},
        "never_solved": share,
        "verifier": digest_text(config["verifier"]),
        "task": config["task"],
    }


def floors_table(floors: list[Floor], share: float) -> Table:
    """Return a line a floor: how many problems of the other fold are below it, and could be solved."""
    table = Table(title=f"a share of {share:.3f} is never solved (zero-inflated Beta)", title_justify="left")
    for name in ("after samples", "least reward", "given up (other fold)", "of these solved by some sample"):
        table.add_column(name, no_wrap=True)
    for f in floors:
        table.add_row(str(f.num_samples), f"{f.level:.4f}", f"{f.share:.3f}", str(f.num_solved))
    return table
