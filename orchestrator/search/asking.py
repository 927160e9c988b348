"""One call to a model: answered from the journal, or sent through the gate within the time limit; checked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

from msgspec import UNSET

from orchestrator.errors import ProblemError, StrategyError, VerifierError
from orchestrator.protocols import (
    Completion,
    Engine,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    Reasons,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
)
from orchestrator.search.account import Account, Limits
from orchestrator.search.ahead import Ahead
from orchestrator.search.extending import NOTHING_DRAWN, Drawn
from orchestrator.search.gate import Gate
from orchestrator.search.grants import Granting
from orchestrator.search.prices import Billing, Price
from orchestrator.search.reading import Reading
from orchestrator.search.requests import check_constraints, check_history, generate_requests, score_request
from orchestrator.search.watching import Watch
from orchestrator.spans import span
from orchestrator.storage.journal import Journal
from orchestrator.types import ENGINE, Overhead, Params, Problem, Prompt, Trajectory, Usage

Request = TypeVar("Request", GenerateRequest, LoglikRequest, ScoreRequest)
Reply = TypeVar("Reply", Completion, ScoreReply, Loglik)


@dataclass(eq=False)
class Ledger:
    """What all scopes of one problem share: its models, journal, gate and account.

    ``policies`` are all engines by name, with the ``engine`` under that name; two names of one engine are an
    alias. A call that the ``journal`` holds is not sent to a model; its usage counts as if it had been.
    ``drawn`` is what the problem has cost before this run was extended. ``overhead`` is what the problem has
    cost beside its ``account``; it is known once the problem is released. ``watch`` sees the search while it
    runs. ``reasons`` are the verifier's latest for each text, where it gives any.
    """

    problem: Problem
    engine: Engine
    verifier: Verifier | None
    task: Task
    seed: int = 0
    limits: Limits = Limits()
    journal: Journal = field(default_factory=Journal)
    gate: Gate = field(default_factory=Gate)
    drawn: Drawn = NOTHING_DRAWN
    watch: Watch | None = None
    granting: Granting | None = None
    policies: Mapping[str, Engine] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    billing: Billing = field(init=False)
    account: Account = field(init=False)
    overhead: Overhead = field(default=Overhead(), init=False)
    reasons: dict[tuple[Prompt | None, tuple[int, ...]], Reasons] = field(default_factory=dict, init=False)
    _constraints: asyncio.Future[str] | None = field(default=None, init=False)
    _is_over: bool = field(default=False, init=False)
    _ahead: Ahead = field(init=False)
    _reading: Reading = field(init=False)
    _asking: set[asyncio.Task[Any]] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self.account = Account(self.limits, self.seconds_before, self.drawn.usage, self.prices)
        self.billing = Billing(self.problem, self.task, {} if self.limits.cost is None else self.prices)
        self.overhead = self.drawn.overhead
        self._ahead = Ahead(self.engine, self.gate)
        self.policies = {ENGINE: self.engine, **self.policies} | {ENGINE: self.engine}
        self._reading = Reading(self.policies, self.gate, self.problem.id)
        if self.watch is not None:
            self.watch.begins(self.account)

    @property
    def seconds_before(self) -> float:
        """The problem's clock when this part of its search began, in seconds."""
        return max(self.journal.elapsed, self.drawn.seconds)

    def expect(self, params: Sequence[Params], seeds: Sequence[int]) -> bool:
        """Have whole samples generated ahead, unless a limit of tokens or cost must decide first.

        Return whether they are.

        While the journal answers nothing is sent: the replies may be recorded.
        """
        if self.limits.generated_tokens is not None or self.limits.cost is not None:
            return False
        if not self.journal.num_left and not self.gate.closed and not self._is_over:
            starts = [Trajectory()] * len(seeds)
            requests = generate_requests(self.problem, self.task, starts, params, seeds, to_end=True)
            check_history(ENGINE, self.engine.info, requests)
            self._ahead.begin(requests)
        return True

    def policy(self, name: str) -> Engine:
        """Return the engine of this name. Raises StrategyError where the run has none."""
        if name not in self.policies:
            raise StrategyError(f"policy={name!r}: this run has {', '.join(self.policies)}")
        return self.policies[name]

    def generate(
        self, policy: str
    ) -> Callable[[Sequence[GenerateRequest]], Awaitable[list[Completion | Failure]]]:
        """Return a policy's method; what the main one has generated ahead is not requested again."""
        return self._ahead.generate if policy == ENGINE and self._ahead else self.policy(policy).generate

    async def read_by(self, policy: str, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the trajectories with the token ids by which a policy reads them."""
        return await self._reading.read_by(policy, trajectories)

    def spend(self, policy: str, usages: Sequence[Usage]) -> None:
        """Add the usage of a policy's replies; by policy where the run has several, or prices."""
        self.account.spend(usages)
        if len(self.policies) > 1 or self.prices:
            self.account.note_policy(policy, usages)

    async def constraints(self) -> str:
        """Return what the verifier lists for the problem, in one call for all scopes; empty if it lists none.

        Raises VerifierError.
        """
        if self.verifier is None or not self.verifier.info.lists_constraints:
            return ""
        if self._constraints is None:
            self._constraints = asyncio.ensure_future(self._list_constraints(self.verifier))
        return await asyncio.shield(self._constraints)

    async def _list_constraints(self, verifier: Verifier) -> str:
        name = "constraints"  # of no scope: whichever branch comes first asks
        await self.journal.enter(name)
        seed = self.seed if verifier.info.sampling else UNSET
        requests = [score_request(self.problem, Trajectory(), seed)]
        replies = await self.ask(name, verifier.score, requests, check_constraints, VerifierError)
        if replies is None:
            return ""
        self.account.spend([reply.usage for reply in replies], reward_calls=0)
        self.account.note_role("constraints", replies[0].usage)
        return replies[0].reasons[0].text

    def withhold(self, limit: str) -> None:
        """Note that a limit withheld a whole call; a resumed search repeats this decision."""
        self.account.stop(limit)
        self.journal.decide()

    async def ask(
        self,
        name: str,
        method: Callable[[Sequence[Request]], Awaitable[list[Reply | Failure]]],
        requests: Sequence[Request],
        check: Callable[[Request, Reply], None],
        error: type[ProblemError],
        policy: str = ENGINE,
    ) -> list[Reply] | None:
        """Return the replies to one call, recorded or new, or None if the time limit cancelled it.

        Raises ``error`` for a failed call, and what ``check`` raises.
        """
        if self._is_over:
            raise StrategyError(f"{name} was called after its search had ended")
        with _noted(self._asking), span("call", call=name, rows=len(requests)) as own:
            call = await self.journal.ask(name, requests, policy)
            own.set(recorded=call.record is not None)
            if call.record is not None:
                replies = cast("list[Reply] | None", call.record.replies)
            else:
                replies = await self._ask_models(method, requests, error)
                for request, reply in zip(requests, replies or (), strict=replies is not None):
                    check(request, reply)
                self.journal.record(call, self.account.elapsed, replies)
        if replies is None:
            self.account.stop("seconds")
        return replies

    async def release(self) -> None:
        """Cancel open calls and release the problem at its engine, which returns the overhead."""
        self._is_over = True
        try:
            await _end(self._asking)
            self.overhead += await self._ahead.cancel()
        finally:
            for engine in {id(engine): engine for engine in self.policies.values()}.values():
                self.overhead += await engine.release(self.problem.id)

    async def _ask_models(
        self,
        method: Callable[[Sequence[Request]], Awaitable[list[Reply | Failure]]],
        requests: Sequence[Request],
        error: type[ProblemError],
    ) -> list[Reply] | None:
        """Return the replies to one new call, or None if the time limit came first."""
        try:
            replies = await self._in_time(partial(self.gate.ask, method), requests)
        except ProblemError:
            raise
        except Exception as failure:
            raise error(f"{type(failure).__name__}: {failure}") from failure
        if replies is None:
            return None
        if len(replies) != len(requests):
            raise error(f"{len(requests)} requests got {len(replies)} replies")
        for reply in replies:
            if isinstance(reply, Failure):
                raise error(f"{reply.type}: {reply.message}")
        return [reply for reply in replies if not isinstance(reply, Failure)]

    async def _in_time(
        self,
        method: Callable[[Sequence[Request]], Awaitable[list[Reply | Failure]]],
        requests: Sequence[Request],
    ) -> list[Reply | Failure] | None:
        """Return ``method(requests)``, or None if the time limit comes before its answer."""
        seconds_left = self.account.seconds_left
        if seconds_left == 0.0:
            return None
        clock = asyncio.timeout(seconds_left)
        try:
            async with clock:
                return await method(requests)
        except TimeoutError:
            if clock.expired():
                return None
            raise


@contextmanager
def _noted(tasks: set[asyncio.Task[Any]]) -> Iterator[None]:
    """Keep the current task in ``tasks`` inside the block."""
    task = asyncio.current_task()
    assert task is not None
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel the calls that a search has left open: their cost belongs to its problem, not to a later one."""
    for task in (left := tuple(tasks)):
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
