"""Real runs on the embedded models, made once for the tests of reports and replays."""

from __future__ import annotations

from pathlib import Path

import pytest
from filelock import FileLock

from tests.orchestrator.real_runs import make_sweep

STRATEGIES, BUDGETS, SEEDS = ("astar", "best_of_n", "particle_filter"), (2, 4), (0, 1)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Three strategies at two budgets with two seeds, each on ``NUM_PROBLEMS`` problems.

    The processes of pytest-xdist share it: it is for reading.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared sweep"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            make_sweep(folder.with_suffix(".part"), STRATEGIES, BUDGETS, SEEDS).rename(folder)
    return folder
