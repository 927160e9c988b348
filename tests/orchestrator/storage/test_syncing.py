"""A group commit: told only what is on disk, in order, few syncs for many writes, and failures not lost."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from orchestrator.storage.group_commit import GroupCommit


class Disk:
    """Stands for ``os.fsync``: it waits until it is let go on, and may fail."""

    def __init__(self) -> None:
        self.num_syncs = 0
        self.fails = False
        self.may_go_on = threading.Event()

    def __call__(self, descriptor: int) -> None:
        assert self.may_go_on.wait(10)
        self.num_syncs += 1
        if self.fails:
            raise OSError(5, os.strerror(5))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk)
    return disk


@pytest.fixture
def commits(disk: Disk) -> Iterator[GroupCommit]:
    commits = GroupCommit(0)
    yield commits
    disk.may_go_on.set()
    commits.close()


async def until_told(told: list[int], num: int) -> None:
    async with asyncio.timeout(10):
        while len(told) < num:
            await asyncio.sleep(0.001)


async def test_nobody_is_told_before_the_sync_and_all_are_after_it(disk: Disk, commits: GroupCommit) -> None:
    """What came while the first sync ran shares the second one."""
    told: list[int] = []
    for i in range(10):
        commits.add(lambda i=i: told.append(i))  # type: ignore[misc]
    await asyncio.sleep(0.02)
    assert told == []
    disk.may_go_on.set()
    await until_told(told, 10)
    assert told == list(range(10))
    assert disk.num_syncs == 2


async def test_what_comes_later_is_synced_later(disk: Disk, commits: GroupCommit) -> None:
    told: list[int] = []
    disk.may_go_on.set()
    for i in range(3):
        commits.add(lambda i=i: told.append(i))  # type: ignore[misc]
        await until_told(told, i + 1)
    assert disk.num_syncs == 3


async def until_it_fails(commits: GroupCommit) -> None:
    async with asyncio.timeout(10):
        while True:
            commits.check()
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("num", [0, 1, 5])
async def test_finishing_waits_for_all(num: int, disk: Disk, commits: GroupCommit) -> None:
    """Also for a sync whose end the event loop has not heard of yet; each is told once."""
    told: list[int] = []
    for i in range(num):
        commits.add(lambda i=i: told.append(i))  # type: ignore[misc]
    disk.may_go_on.set()
    commits.finish()
    assert told == list(range(num))
    await asyncio.sleep(0.02)
    commits.finish()
    assert told == list(range(num))


async def test_a_failure_is_raised_at_the_next_write_and_at_the_end(disk: Disk, commits: GroupCommit) -> None:
    """Those who waited are not told, and neither are later ones."""
    told: list[int] = []
    disk.fails = True
    for i in range(2):
        commits.add(lambda i=i: told.append(i))  # type: ignore[misc]
    disk.may_go_on.set()
    with pytest.raises(OSError, match="Input/output error"):
        await until_it_fails(commits)
    disk.fails = False
    with pytest.raises(OSError, match="Input/output error"):
        commits.add(lambda: told.append(9))
    with pytest.raises(OSError, match="Input/output error"):
        commits.finish()
    assert told == []


async def test_the_error_of_one_that_is_told_is_not_lost(disk: Disk, commits: GroupCommit) -> None:
    def broken() -> None:
        raise RuntimeError("a bug")

    disk.may_go_on.set()
    commits.add(broken)
    with pytest.raises(RuntimeError, match="a bug"):
        commits.finish()
