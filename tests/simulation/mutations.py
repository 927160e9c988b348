"""Faults of our own code, put in by hand: a simulation that does not find them finds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

from actors.pool import jobs
from actors.pool.fleet import Fleet
from actors.pool.jobs import Died, Job
from actors.pool.replica import Raised
from orchestrator.allocation.board import Board
from orchestrator.storage import results
from orchestrator.storage import run_directory as rundir
from orchestrator.storage.group_commit import GroupCommit, OnDisk
from orchestrator.storage.journal import Journal


def _drop_the_fsync(self: GroupCommit, on_disk: OnDisk) -> None:
    on_disk()


async def _swap_two_replies(self: Fleet, method: str, home: str, requests: Sequence[Any]) -> list[Any]:
    first, *others = await _ask(self, method, home, requests)
    return [*others[:1], first, *others[1:]]


def _blame_all(self: Job, outcome: Raised | Died) -> Job:
    return _after(self, outcome if isinstance(outcome, Raised) else replace(outcome, alone=True))


def _blame_nobody(self: Job, outcome: Raised | Died) -> Job:
    return _after(self, outcome if isinstance(outcome, Raised) else replace(outcome, alone=False))


async def _pardon_nobody(job: Job) -> Job:
    return job


def _write_nothing_down(self: Journal, *_: Any) -> None:
    return


async def _forget_the_overhead(self: Fleet, home: str) -> Any:
    overhead = await _release(self, home)
    return overhead + overhead


def _keep_torn_lines(*args: Any, **keys: Any) -> None:
    with patch.object(results.os, "truncate", lambda *_: None):
        _keep_finished(*args, **keys)


def _grant_at_once(self: Board) -> dict[int, int]:
    self._thinking, thinking = set(), self._thinking
    granted = _settle(self)
    self._thinking |= thinking
    return granted


_settle = Board.settle
_ask, _release, _after, _keep_finished = Fleet.ask, Fleet.release, Job.after, results.keep_finished

MUTATIONS: Mapping[str, Callable[[], Any]] = {
    "drop the fsync": partial(patch.object, GroupCommit, "add", _drop_the_fsync),
    "swap two replies": partial(patch.object, Fleet, "ask", _swap_two_replies),
    "blame all for a death": partial(patch.object, Job, "after", _blame_all),
    "blame nobody": partial(patch.object, Job, "after", _blame_nobody),
    "blame a request for its node": partial(patch.object, Fleet, "_pardon", staticmethod(_pardon_nobody)),
    "never close a replica": partial(patch.object, jobs.Job, "needs_quarantine", lambda *_: False),
    "write no reply down": partial(patch.object, Journal, "record", _write_nothing_down),
    "count overhead twice": partial(patch.object, Fleet, "release", _forget_the_overhead),
    "grant before all have bid": partial(patch.object, Board, "settle", _grant_at_once),
    "keep torn lines": partial(patch.object, rundir, "keep_finished", _keep_torn_lines),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """The project with a fault of this name."""
    with MUTATIONS[name]():
        yield
