"""Real runs on the embedded models, made once for the tests of reports and replays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.real_runs import make_sweep

STRATEGIES, BUDGETS, SEEDS = ("astar", "best_of_n", "particle_filter"), (2, 4), (0, 1)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three strategies at two budgets with two seeds, each on ``NUM_PROBLEMS`` problems."""
    return make_sweep(tmp_path_factory.mktemp("runs") / "sweep", STRATEGIES, BUDGETS, SEEDS)
