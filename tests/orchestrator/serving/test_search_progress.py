"""The progress of a search: its records together are the history of its result."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.search.controller import Controller
from orchestrator.serving.progress import Progress
from orchestrator.storage.result_lines import record_line
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from strategies import AStar, ParticleCascade, ParticleFilter, ParticleGibbs


async def records_of(strategy: Any) -> tuple[dict[tuple[str, int], dict[str, Any]], list[dict[str, Any]]]:
    """Return the records that a client is sent, the last of each place, and those of the result."""
    progress = Progress(FakeTask())
    controller = Controller(strategy, FakeEngine(), FakeVerifier(), FakeTask(), watch=progress)
    (problem,) = FakeTask().problems(0, 1)
    result = await controller.solve(problem)
    assert result.solution is not None
    sent = {(r.pop("scope"), r.pop("index")): r for r in progress.take()["records"]}
    return sent, [record_line(record) for record in result.solution.history]


@pytest.mark.parametrize("max_steps", [1, 2, 8])
async def test_each_sweep_has_its_own_records(max_steps: int) -> None:
    """However few steps it has: a result counts the steps of its sweeps together, progress each by itself."""
    sent, history = await records_of(ParticleGibbs(16, max_steps))
    assert len({scope for scope, _ in sent}) == 4
    assert [r | {"step": 0} for r in sent.values()] == [r | {"step": 0} for r in history]
    for (_, index), record in sent.items():
        assert record["step"] == index + 1


@pytest.mark.parametrize("strategy", [AStar(8), ParticleCascade(8), ParticleFilter(8)])
async def test_one_search_has_the_records_of_its_result(strategy: Any) -> None:
    sent, history = await records_of(strategy)
    assert [sent[place] for place in sorted(sent)] == history
    assert len({scope for scope, _ in sent}) == 1
