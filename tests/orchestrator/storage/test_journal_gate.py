"""A recorded call waits for its turn before it reserves: what it gets depends on what others have left."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from orchestrator.search.account import Limits
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.storage.appending import OpenFiles
from orchestrator.storage.journal import Journal
from orchestrator.types import Sampling, Trajectory
from tests.toy import PROBLEM, World

ROW = Sampling(max_tokens=16)
LIMITS = Limits(generated_tokens=60)
Outcome = tuple[list[Trajectory], list[Trajectory]]


async def search(path: Path, world: World, pause_s: float) -> Outcome:
    """Two branches; one pauses first, as grading does, which takes longer in one process than in another."""
    files = OpenFiles()
    session = Session(Ledger(
        PROBLEM, engine=world.engine, verifier=world.verifier, task=world.task, limits=LIMITS,
        journal=Journal(path, files, patience=20.0),
    ))  # fmt: skip
    steady, paused = session.fork("steady"), session.fork("paused")

    async def two_calls() -> list[Trajectory]:
        return await steady.generate(await steady.generate([Trajectory()], ROW), ROW)

    async def four_rows() -> list[Trajectory]:
        await asyncio.sleep(pause_s)
        return await paused.generate([Trajectory()] * 4, ROW)

    try:
        first, second = await asyncio.gather(two_calls(), four_rows())
    finally:
        files.close_all()
    return first, second


@pytest.mark.parametrize(("before", "after"), [(0.2, 0.0), (0.0, 0.2)])
async def test_a_recorded_call_reserves_what_it_reserved(before: float, after: float, tmp_path: Path) -> None:
    """60 tokens: late, three of the four rows fit at once; early, beside a call in flight, two do."""
    path, world = tmp_path / "toy.jsonl", World()
    whole = await search(path, world, before)
    rows = [len(json.loads(line)["replies"]) for line in path.read_bytes().splitlines()]
    assert sorted(rows) == ([1, 1, 1, 3] if before else [1, 1, 2, 2])
    again = World()
    assert await search(path, again, after) == whole
    assert again.engine.requests == []
