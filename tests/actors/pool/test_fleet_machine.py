"""A fleet in whatever order things happen: requests, replies, deaths, losses, returns, cancellations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.pool.fleet import Fleet
from actors.pool.jobs import Died, End, Life
from actors.pool.replica import Raised
from actors.pool.routing import ranking
from orchestrator.protocols import NO_REPLICA, Completion, Failure, GenerateRequest
from orchestrator.types import Overhead, Sampling, Usage
from tests.actors.fake_members import FakeMember, fake_fleet
from tests.bench.virtual_time import VirtualTimeLoop

MAX_ATTEMPTS, MAX_IN_FLIGHT, SPILL_MARGIN = 2, 4, 1
HOMES = ("p", "q", "r", "s")
NODES = {"engine-0": "a", "engine-1": "a", "engine-2": "b"}


@dataclass(eq=False)
class Call:
    """A call that waits for its reply."""

    member: FakeMember
    life: Life
    rows: Sequence[GenerateRequest]
    reply: asyncio.Future[Any]


@dataclass(eq=False)
class Asked:
    """A question to the fleet."""

    rows: Sequence[GenerateRequest]
    task: asyncio.Task[list[Any]]


class FleetMachine(RuleBasedStateMachine):
    """The fleet under test, and beside it what it must add up to.

    ``blows`` counts by row what may count against it: exceptions that it met alone in its call, and deaths
    that it met alone on a replica whose node was not lost. ``counted`` are the tokens that replicas made, and
    ``accepted`` those of replies that came back to the caller.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.calls: list[Call] = []
        self.asked: list[Asked] = []
        self.dead: list[tuple[Life, list[GenerateRequest]]] = []
        self.blows: Counter[int] = Counter()
        self.failed_once: set[int] = set()
        self.counted = self.accepted = self.num_rows = 0
        self.released = Overhead()
        keys = {"max_attempts": MAX_ATTEMPTS, "max_in_flight": MAX_IN_FLIGHT, "spill_margin": SPILL_MARGIN}
        self.fleet = self.do(self._started(**keys))

    async def _started(self, **keys: Any) -> Fleet:
        fleet = fake_fleet(self._answer, num=2, num_extra=1, sampler="stream", **keys)
        await fleet.start()
        fleet.members["engine-2"].join_later()
        return fleet

    def do(self, work: Any) -> Any:
        """What ``work`` returns, once all has come to rest that needs no reply."""

        async def to_rest() -> Any:
            result = await work
            for _ in range(40):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(to_rest())

    def act(self, *acts: Callable[[], object]) -> None:
        async def all_of_them() -> None:
            for act in acts:
                act()

        self.do(all_of_them())

    @property
    def members(self) -> list[FakeMember]:
        return list(self.fleet.members.values())  # type: ignore[arg-type]

    @property
    def alive(self) -> list[FakeMember]:
        return [m for m in self.members if m.life is not None]

    # What the fleet asks of its members.

    async def _answer(self, member: FakeMember, life: Life, rows: Sequence[Any]) -> Any:
        assert member.life is life, "a call to a replica that is dead"
        self._check_place(member, life, rows)
        for row in rows:
            assert self.blows[row.seed] < MAX_ATTEMPTS, "a request is tried too often"
            others = [r.seed for c in self.calls for r in c.rows]
            assert row.seed not in others, "a request is at two replicas"
        call = Call(member, life, rows, asyncio.get_running_loop().create_future())
        self.calls.append(call)
        try:
            return await call.reply
        finally:
            if call in self.calls:
                self.calls.remove(call)

    def _check_place(self, member: FakeMember, life: Life, rows: Sequence[GenerateRequest]) -> None:
        """Closed replicas are for one row that is alone there; others keep to their bounds."""
        if member.closed:
            assert len(rows) == 1 and life.num_rows == 1, "a call beside one in quarantine"
            return
        assert life.num_rows <= max(MAX_IN_FLIGHT, len(rows)), "more rows than a replica takes"
        loads = {m.name: m.life.num_rows for m in self.alive if m.life is not None and not m.closed}
        loads[member.name] -= len(rows)
        home = ranking(rows[0].home, tuple(loads))[0]
        if member.name != home and not any(row.seed in self.failed_once for row in rows):
            is_full = loads[home] > max(0, MAX_IN_FLIGHT - len(rows))
            assert is_full or loads[home] - min(loads.values()) > SPILL_MARGIN, "a spill without a reason"
            assert loads[member.name] == min(loads.values()), "a spill to one that is not the idlest"

    # What may happen.

    @rule(home=st.sampled_from(HOMES), num=st.integers(1, 6))
    def ask(self, home: str, num: int) -> None:
        rows = [self._row(home) for _ in range(num)]
        self.act(lambda: self.asked.append(Asked(rows, self._asking(home, rows))))

    def _asking(self, home: str, rows: Sequence[GenerateRequest]) -> asyncio.Task[list[Any]]:
        return self.loop.create_task(self.fleet.ask("generate", home, rows))

    def _row(self, home: str) -> GenerateRequest:
        self.num_rows += 1
        return GenerateRequest(home, "q", "", (), Sampling(max_tokens=16), self.num_rows, "\n", None)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def reply(self, data: st.DataObject) -> None:
        call = self._drawn(data)
        replies = [Completion((), Usage(generated_tokens=row.seed)) for row in call.rows]
        num_tokens = sum(row.seed for row in call.rows)
        call.life.tokens_delivered += num_tokens
        call.life.tokens_seen = call.life.tokens_delivered
        self.counted += num_tokens
        self.act(lambda: call.reply.set_result(replies))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def raise_(self, data: st.DataObject) -> None:
        call = self._drawn(data)
        self._strike(call.rows, counts=len(call.rows) == 1)
        self.act(lambda: call.reply.set_result(Raised("ValueError", "bad", call.member.name)))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def hang(self, data: st.DataObject) -> None:
        """A call that gets nothing while the replica goes on with others is cut."""
        call = self._drawn(data)
        self._strike(call.rows, counts=len(call.rows) == 1)
        self.act(lambda: call.reply.set_result(Raised("TimeoutError", "no reply", call.member.name)))

    def _drawn(self, data: st.DataObject) -> Call:
        return data.draw(st.sampled_from(self.calls))

    def _strike(self, rows: Sequence[GenerateRequest], *, counts: bool) -> None:
        self.failed_once.update(row.seed for row in rows)
        for row in rows:
            self.blows[row.seed] += counts

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), per_row=st.integers(0, 3))
    def die(self, data: st.DataObject, per_row: int) -> None:
        member = data.draw(st.sampled_from(self.alive))
        self.act(lambda: self._die(member, per_row))

    @precondition(lambda self: self.alive)
    @rule(node=st.sampled_from(("a", "b")), per_row=st.integers(0, 3))
    def lose_a_node(self, node: str, per_row: int) -> None:
        """All on it die, and it is known at once that they were not killed by a request."""
        lost = [m for m in self.alive if NODES[m.name] == node]
        self.act(*(lambda m=m: self._die(m, per_row, End.NODE_LOST) for m in lost))  # type: ignore[misc]

    def _die(self, member: FakeMember, per_row: int, end: End | None = None) -> None:
        """With ``per_row`` tokens made for each row in flight, which no reply has."""
        life = member.life
        assert life is not None
        calls = [call for call in self.calls if call.life is life]
        rows = [row for call in calls for row in call.rows]
        life.rows_at_death = life.num_rows
        assert life.rows_at_death == len(rows)
        life.tokens_seen = life.tokens_delivered + per_row * len(rows)
        self.counted += per_row * len(rows) - member.in_vain.total()
        member.life, member.num_deaths = None, member.num_deaths + 1
        member.in_vain.clear()
        alone = len(rows) == 1
        if end is not None:
            life.conclude(end)
            self._strike(rows, counts=False)
        else:
            self._strike(rows, counts=alone)
            self.dead.append((life, rows if alone else []))
        for call in calls:
            call.reply.set_result(Died(member.name, life, alone, "a death"))

    @precondition(lambda self: self.dead)
    @rule(data=st.data(), end=st.sampled_from(End))
    def learn_how_it_ended(self, data: st.DataObject, end: End) -> None:
        """Which takes a while; where it was the node, whoever was alone there is not to blame."""
        life, alone = data.draw(st.sampled_from(self.dead))
        self.dead.remove((life, alone))
        if end is End.NODE_LOST:
            for row in alone:
                self.blows[row.seed] -= 1
        self.act(lambda: life.conclude(end))

    @precondition(lambda self: len(self.alive) < len(NODES))
    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        """Whether it was given up, has left, or was expected."""
        member = data.draw(st.sampled_from([m for m in self.members if m.life is None]))
        self.act(member.join_later)

    @precondition(lambda self: len(self.alive) < len(NODES))
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from([m for m in self.members if m.life is None]))
        member.lost = f"{member.name} is lost"
        self.act(member.on_change)

    @precondition(
        lambda self: any(m.name == "engine-2" and m.life and not m.life.num_rows for m in self.members)
    )
    @rule()
    def scale_down(self) -> None:
        member = self.members[2]
        self.counted -= member.in_vain.total()
        member.in_vain.clear()
        self.do(member.give_back("is given back"))

    @precondition(lambda self: any(not a.task.done() for a in self.asked))
    @rule(data=st.data(), per_row=st.integers(0, 2))
    def cancel(self, data: st.DataObject, per_row: int) -> None:
        """As a time limit does; the replica says what its calls have cost so far."""
        asked = data.draw(st.sampled_from([a for a in self.asked if not a.task.done()]))
        own = {row.seed for row in asked.rows}
        for member in self.members:
            member.spent = per_row
        num_calls = sum(call.rows[0].seed in own for call in self.calls)
        self.counted += per_row * num_calls
        self.asked.remove(asked)
        self.act(asked.task.cancel)
        assert asked.task.cancelled()

    @rule(data=st.data(), home=st.sampled_from(HOMES), num=st.integers(1, 5))
    def run_ahead(self, data: st.DataObject, home: str, num: int) -> None:
        """A replica that serves a problem makes tokens for it that nobody asked for."""
        names = sorted(self.fleet._served.get(home, ()))
        alive = [m for m in self.alive if m.name in names]
        if alive:
            data.draw(st.sampled_from(alive)).in_vain[home] += num
            self.counted += num

    @rule(home=st.sampled_from(HOMES))
    def release(self, home: str) -> None:
        """Of a problem that is over: nothing of it is left, and what it cost is told once."""
        if any(row.home == home for asked in self.asked for row in asked.rows):
            return
        self.released += self.do(self.fleet.release(home))
        assert home not in self.fleet._served and home not in self.fleet._overheads
        assert self.do(self.fleet.release(home)) == Overhead()

    # What always holds.

    @invariant()
    def every_request_is_answered_once_and_in_order(self) -> None:
        for asked in [a for a in self.asked if a.task.done()]:
            self.asked.remove(asked)
            replies = asked.task.result()
            assert len(replies) == len(asked.rows)
            for row, reply in zip(asked.rows, replies, strict=True):
                self._check_reply(row, reply)

    def _check_reply(self, row: GenerateRequest, reply: Completion | Failure) -> None:
        if isinstance(reply, Completion):
            assert reply.usage.generated_tokens == row.seed, "the reply to another request"
            self.accepted += row.seed
        elif reply.type == NO_REPLICA:
            assert all(m.life is None and m.lost for m in self.members)
        else:
            assert self.blows[row.seed] == MAX_ATTEMPTS, f"{reply} after {self.blows[row.seed]} blows"

    @invariant()
    def no_row_is_counted_that_is_not_in_flight(self) -> None:
        for member in self.alive:
            assert member.life is not None
            assert member.life.num_rows == sum(len(c.rows) for c in self.calls if c.life is member.life)

    @invariant()
    def what_was_counted_is_accepted_or_overhead(self) -> None:
        if self.asked:  # a reply may be there of a call whose siblings are not
            return
        overhead = self.fleet.overhead
        ahead = sum(m.in_vain.total() for m in self.members)
        told = overhead.retried_tokens + overhead.speculated_tokens
        assert self.accepted + told + ahead == self.counted, (
            f"{self.accepted} + {told} + {ahead}, not {self.counted}"
        )
        assert sum(self.fleet._overheads.values(), self.released) == overhead

    def teardown(self) -> None:
        """When all replicas are there again, all that was asked is answered, and nothing is left."""
        for life, _ in self.dead:
            self.act(lambda life=life: life.conclude(End.DIED))  # type: ignore[misc]
        self.act(*(m.join_later for m in self.members if m.life is None))
        for _ in range(1000):
            if not self.calls:
                break
            call = self.calls[0]
            self.counted += sum(row.seed for row in call.rows)
            replies = [Completion((), Usage(generated_tokens=row.seed)) for row in call.rows]
            self.act(lambda call=call, replies=replies: call.reply.set_result(replies))  # type: ignore[misc]
        assert all(asked.task.done() for asked in self.asked), "nobody answers"
        self.every_request_is_answered_once_and_in_order()
        self.what_was_counted_is_accepted_or_overhead()
        for home in HOMES:
            self.release(home)
        assert not self.fleet._served and not self.fleet._overheads and not self.fleet._waiting
        assert self.fleet.num_queued == self.fleet.num_rows == 0
        assert self.released == self.fleet.overhead
        self.do(self.fleet.close())
        self.loop.close()


FleetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestFleetMachine = pytest.mark.heavy(FleetMachine.TestCase)
