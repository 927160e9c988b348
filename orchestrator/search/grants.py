"""Samples that are granted across problems, in rounds: what a search waits on between its parcels.

Problems are cut into fixed blocks by their index. The board of a block (``orchestrator.allocation``) sees
all bids at once, so a problem waits until every other one of its block has bid or is done; it holds no place
among those at work meanwhile. Two blocks are in flight, so that stragglers of a round leave no model idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from orchestrator.allocation.bids import Bid
from orchestrator.allocation.board import Board
from orchestrator.allocation.rounds import Rounds
from orchestrator.errors import StrategyError
from orchestrator.search.account import Account
from orchestrator.storage.journal import Journal
from orchestrator.types import Granted, Problem, RoundRecord

_BLOCKS_IN_FLIGHT = 2


class Slots:
    """Places for problems at work, of which a waiting problem holds none."""

    def __init__(self, num: int) -> None:
        self._free = asyncio.Semaphore(num)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Slot]:
        """Hold a place inside the block; ``Slot.given_up`` gives it to another problem for a while."""
        slot = Slot(self._free)
        await slot.take()
        try:
            yield slot
        finally:
            slot.give()


class Slot:
    """One place, held or given to another problem for a while."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free, self._is_held = free, False

    async def take(self) -> None:
        await self._free.acquire()
        self._is_held = True

    def give(self) -> None:
        if self._is_held:
            self._is_held = False
            self._free.release()


class Block:
    """The problems of one block, and the searches that wait for their round."""

    def __init__(self, rounds: Rounds, num_problems: int, budget: int) -> None:
        self.rounds = rounds
        self.num_first = min(rounds.first, budget)
        self.most = rounds.most or 2 * budget
        left = float((budget - self.num_first) * num_problems)
        self.board = Board(rounds, range(num_problems), left)
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._pooling: dict[int, asyncio.Future[tuple[float, ...]]] = {}

    async def pool(self, problem: int, rewards: Sequence[float]) -> tuple[float, ...]:
        """Return the rewards of the block's first samples, once every problem has drawn them."""
        prior: asyncio.Future[tuple[float, ...]] = asyncio.get_running_loop().create_future()
        self._pooling[problem] = prior
        self.board.pool(problem, rewards)
        self._settle()
        return await prior

    async def bid(self, problem: int, bid: Bid, recorded: RoundRecord | None = None) -> RoundRecord:
        """Return what a problem is granted, once the block has decided; 0 parcels: no more.

        A bid that was answered by an earlier part of the run is granted the same again.
        """
        granted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[problem] = granted
        self.board.bid(problem, bid, recorded)
        self._settle()
        parcels = await granted
        return recorded or RoundRecord(self.board.num_rounds, bid.gain, float(bid.cost), parcels)

    def done(self, problem: int, unused: float = 0.0) -> None:
        """Note that a problem has ended."""
        self.board.done(problem, unused)
        self._settle()

    def _settle(self) -> None:
        pooled, prior = self.board.pooled()
        for problem in pooled:
            self._pooling.pop(problem).set_result(prior)
        for problem, parcels in self.board.settle().items():
            self._waiting.pop(problem).set_result(parcels)


@dataclass
class Granting:
    """What one problem's search has of its block. ``num_drawn`` counts the numbered samples it has drawn."""

    block: Block
    index: int
    slot: Slot | None = None
    resting: Callable[[], AbstractContextManager[None]] = nullcontext
    records: list[RoundRecord] = field(default_factory=list)
    num_drawn: int = 0
    _last: str = ""
    _is_away: bool = False

    @property
    def rounds(self) -> Rounds:
        return self.block.rounds

    @property
    def num_first(self) -> int:
        return self.block.num_first

    @property
    def num_granted(self) -> int:
        """How many samples the problem may draw by now."""
        return self.num_first + int(sum(r.granted * r.cost for r in self.records))

    @property
    def num_left(self) -> int:
        """How many more samples it may be granted."""
        return self.block.most - self.num_granted

    async def pool(self, rewards: Sequence[float], account: Account) -> tuple[float, ...]:
        """Return the rewards of the block's first samples."""
        self.records.append(RoundRecord(0, 0.0, 0.0, 0, tuple(rewards)))
        async with self._away(account):
            return await self.block.pool(self.index, rewards)

    async def ask(self, name: str, bid: Bid, journal: Journal, account: Account) -> int:
        """Return how many parcels this problem gets for the bid of this name, which is recorded."""
        if bid.cost > self.num_left:
            return 0
        recorded = journal.grant(name)
        async with self._away(account):
            granted = await self.block.bid(self.index, bid, recorded)
            if recorded is None:
                journal.record_grant(name, account.elapsed, granted)
        self.records.append(granted)
        self._last = name
        return granted.granted

    @asynccontextmanager
    async def _away(self, account: Account) -> AsyncIterator[None]:
        """Give the place to another problem inside the block, and stop the clock until there is one again."""
        if self._is_away:
            raise StrategyError("session.grant was called while an earlier bid of the problem waits")
        self._is_away = True
        with account.paused(), self.resting():
            if self.slot is not None:
                self.slot.give()
            yield
            if self.slot is not None:
                await self.slot.take()
        self._is_away = False

    def begin(self, journal: Journal) -> None:
        """Note what an earlier part of the run has granted, before the search begins."""
        self.block.board.promise(self.index, journal.grants)

    def end(self, journal: Journal, num_candidates: int | None) -> None:
        """Note that the search has ended; None: it failed.

        What it was granted and has not drawn goes back. A failed one gives its last parcel back, unless it
        has drawn of it, and bids for it again when it is retried.
        """
        if num_candidates is not None:
            unused = self.num_granted - num_candidates
        else:
            unused = self._unused_parcel()
            if unused and self._last:
                journal.record_grant(self._last, 0.0, None)
        self.block.done(self.index, float(max(0, unused)))

    def _unused_parcel(self) -> int:
        last = self.records[-1] if self._last else None
        parcel = self.num_first if last is None else int(last.granted * last.cost)
        return parcel if self.num_drawn <= self.num_granted - parcel else 0

    async def repeat(self, granted: Granted) -> None:
        """Bid as a search did that is finished already: the others then get what they got beside it."""
        unused = float(max(0, self._num_repeated(granted) - granted.num_drawn))
        self.block.board.promise(self.index, granted.records, unused)
        for record in granted.records:
            if record.round == 0:
                await self.block.pool(self.index, record.first)
            else:
                await self.block.bid(self.index, Bid(record.gain, record.cost), record)
        self.block.done(self.index, unused)

    def _num_repeated(self, granted: Granted) -> float:
        return self.num_first + sum(r.granted * r.cost for r in granted.records)


def blocks_of(problems: Iterable[Problem], size: int, offset: int) -> Iterator[list[Problem]]:
    """Yield the problems in blocks by their index in the task, of which ``offset`` is the first one's."""
    source = iter(problems)
    first = size - offset % size
    while block := list(islice(source, first)):
        yield block
        first = size


async def in_blocks(
    blocks: Iterable[list[Problem]], solve: Callable[[list[Problem]], Coroutine[Any, Any, None]]
) -> None:
    """Solve the blocks in order, with two in flight."""
    turn = asyncio.Semaphore(_BLOCKS_IN_FLIGHT)

    async def one(block: list[Problem]) -> None:
        try:
            await solve(block)
        finally:
            turn.release()

    async with asyncio.TaskGroup() as group:
        for block in blocks:
            await turn.acquire()
            group.create_task(one(block))
