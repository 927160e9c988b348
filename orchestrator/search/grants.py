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
from orchestrator.types import Problem, RoundRecord

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

    async def bid(self, problem: int, bid: Bid) -> int:
        """Return how many parcels a problem gets, once the block has decided; 0: no more."""
        self._waiting[problem] = asyncio.get_running_loop().create_future()
        self.board.bid(problem, bid)
        self._settle()
        return await self._waiting[problem]

    def done(self, problem: int, unused: float = 0.0) -> None:
        """Note that a problem has ended."""
        self._waiting.pop(problem, None)
        self.board.done(problem, unused)
        self._settle()

    def _settle(self) -> None:
        for problem, parcels in self.board.settle().items():
            self._waiting[problem].set_result(parcels)


@dataclass
class Granting:
    """What one problem's search has of its block."""

    block: Block
    index: int
    slot: Slot | None
    resting: Callable[[], AbstractContextManager[None]] = nullcontext
    records: list[RoundRecord] = field(default_factory=list)

    @property
    def rounds(self) -> Rounds:
        return self.block.rounds

    @property
    def num_first(self) -> int:
        return self.block.num_first

    async def ask(self, bid: Bid) -> int:
        """Return how many parcels this problem gets for its bid, without a place while it waits."""
        drawn = self.num_first + sum(r.granted * r.cost for r in self.records)
        if drawn + bid.cost > self.block.most:
            return 0
        assert self.slot is not None
        self.slot.give()
        with self.resting():
            parcels = await self.block.bid(self.index, bid)
        await self.slot.take()
        self.records.append(RoundRecord(self.block.board.num_rounds, bid.gain, bid.cost, parcels))
        return parcels

    def end(self, *, failed: bool) -> None:
        """Note that the search has ended; a failed one gives back the parcel that it was at."""
        last = self.records[-1] if self.records else None
        at_work = self.num_first if last is None else last.granted * last.cost
        self.block.done(self.index, float(at_work) if failed else 0.0)

    async def repeat(self, records: Sequence[RoundRecord]) -> None:
        """Bid as a search did that is finished already: the others then get what they got beside it."""
        for record in records:
            await self.block.bid(self.index, Bid(record.gain, record.cost))
        self.block.done(self.index)


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
