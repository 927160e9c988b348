"""Hard limits of one problem, and the account that enforces them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated

from annotated_types import Gt

from orchestrator.schema import Words, checked
from orchestrator.search.prices import FREE, Bill, Price
from orchestrator.types import ENGINE, Params, Prompt, Usage, total

_ROUNDING = 1 + 1e-9  # a sum of costs that equals the limit fits
_NO_LIMIT = Words("must be above 0 and finite, or null for no limit")


@dataclass(frozen=True, slots=True)
@checked("limits")
class Limits:
    """What one problem may spend; None means no limit."""

    generated_tokens: Annotated[int | None, Gt(0), _NO_LIMIT] = None
    """Hard limit for each problem, never exceeded."""
    reward_calls: Annotated[int | None, Gt(0), _NO_LIMIT] = None
    """Hard limit for each problem, never exceeded."""
    seconds: Annotated[float | None, Gt(0), _NO_LIMIT] = None
    """Wall time for each problem from its first request, but for waits for a grant; cancels what runs."""
    cost: Annotated[float | None, Gt(0), _NO_LIMIT] = None
    """Hard limit for each problem, at the prices of its policies (docs/roles.md#prices)."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for the ``rows`` of a call; ``limit`` withholds the next row, or has cut one."""

    rows: list[Params]
    cost: float = 0.0
    limit: str = "generated_tokens"


class Account:
    """The usage of one problem, shared by its session and every fork.

    A call's maximum is reserved before dispatch, and what it did not use is released, so that a token or
    reward limit is never exceeded, whatever runs concurrently. ``seconds_before`` is what an earlier part of
    the same search took, ``usage_before`` what it has spent on the main policy and no reply counts again.
    ``prices`` are those of policies by name.
    """

    def __init__(
        self,
        limits: Limits,
        seconds_before: float = 0.0,
        usage_before: Usage = Usage(),
        prices: Mapping[str, Price] = MappingProxyType({}),
    ) -> None:
        self.limits = limits
        self._prices = prices
        self._cost_before = prices[ENGINE].cost(usage_before) if ENGINE in prices else 0.0
        self._seconds_before = seconds_before
        self.usage = usage_before
        self.by_role: dict[str, Usage] = {}
        self.by_policy: dict[str, Usage] = {}
        self.stopped_by: str | None = None
        self._reserved_tokens = 0
        self._reserved_cost = 0.0
        self._num_reserved = 0
        self._reserved_calls = 0
        self._released = asyncio.Event()
        self._begun: float | None = None
        self._paused_at: float | None = None
        self.seconds_paused = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the first call to a model, without pauses; reading it starts the clock."""
        now = time.monotonic() if self._paused_at is None else self._paused_at
        if self._begun is None:
            self._begun = now - self._seconds_before
        return now - self._begun

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock inside the block: the problem waits for other problems."""
        begun = time.monotonic()
        self._paused_at = begun
        try:
            yield
        finally:
            self._paused_at, waited = None, time.monotonic() - begun
            self.seconds_paused += waited
            if self._begun is not None:
                self._begun += waited

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the time limit; None without one."""
        elapsed = self.elapsed  # which starts the clock, whether there is a limit or none
        return None if self.limits.seconds is None else max(0.0, self.limits.seconds - elapsed)

    @property
    def tokens_left(self) -> int | None:
        """Tokens that may still be reserved; None without a limit."""
        limit = self.limits.generated_tokens
        return None if limit is None else limit - self.usage.generated_tokens - self._reserved_tokens

    @property
    def cost(self) -> float:
        """What the replies so far have cost."""
        costs = (price.cost(self.by_policy.get(name, Usage())) for name, price in self._prices.items())
        return self._cost_before + sum(costs)

    @property
    def cost_left(self) -> float | None:
        """What may still be reserved; None without a limit."""
        limit = self.limits.cost
        return None if limit is None else limit * _ROUNDING - self.cost - self._reserved_cost

    @property
    def calls_left(self) -> int | None:
        """Reward calls that may still be reserved; None without a limit."""
        limit = self.limits.reward_calls
        return None if limit is None else limit - self.usage.reward_calls - self._reserved_calls

    def spend(self, usages: Sequence[Usage], reward_calls: int | None = None) -> None:
        """Add the usage of a call's replies; ``reward_calls``, if given, replaces the number in them."""
        spent = total((self.usage, *usages))
        if reward_calls is not None:
            spent = replace(spent, reward_calls=self.usage.reward_calls + reward_calls)
        self.usage = spent

    def note_roles(self, replies: Iterable[tuple[Prompt | None, Usage]]) -> None:
        """Note what replies to prompts have spent, by their roles; the task's own question has none."""
        for prompt, usage in replies:
            if prompt is not None:
                self.note_role(prompt.role, usage)

    def note_role(self, role: str, usage: Usage) -> None:
        """Note what a reply in a role has spent; nothing where it has spent nothing."""
        if usage != Usage():
            self.by_role[role] = self.by_role.get(role, Usage()) + usage

    def note_policy(self, policy: str, usages: Sequence[Usage]) -> None:
        """Note what a policy's replies have spent."""
        self.by_policy[policy] = total((self.by_policy.get(policy, Usage()), *usages))

    def reach(self, clock: int) -> None:
        """Note that a branch has reached this many sequential tokens; the longest one counts."""
        if clock > self.usage.sequential_tokens:
            self.usage = replace(self.usage, sequential_tokens=clock)

    def stop(self, limit: str) -> None:
        """Note a limit that withheld something; only the first is kept."""
        self.stopped_by = self.stopped_by or limit

    async def reserve(self, params: Sequence[Params], bill: Bill = FREE) -> Reservation:
        """Reserve the leading rows that fit; the first may be clipped. None where none fits."""
        while True:
            found = self._fitting(params, bill)
            if found.rows or not self._num_reserved:
                break
            await self._until_released()
        if not found.rows:
            found = self._clipped(params[0], bill, found.limit)
        if found.rows and self._is_limited:
            self._take(found)
        return found

    def release(self, reservation: Reservation) -> None:
        """Release what ``reserve`` or ``reserve_cost`` has reserved."""
        if not self._is_limited or (not reservation.rows and self.limits.cost is None):
            return
        self._num_reserved -= 1
        self._reserved_tokens -= sum(row.max_tokens for row in reservation.rows)
        # Not what rounding leaves of a sum.
        self._reserved_cost = self._reserved_cost - reservation.cost if self._num_reserved else 0.0
        self._released.set()

    async def reserve_cost(self, cost: float) -> Reservation | None:
        """Reserve what a call without generated tokens may cost; None where it does not fit."""
        while self.cost_left is not None and cost > self.cost_left:
            if not self._num_reserved:
                return None
            await self._until_released()
        found = Reservation([], cost)
        if self.limits.cost is not None:
            self._take(found)
        return found

    @property
    def _is_limited(self) -> bool:
        return self.limits.generated_tokens is not None or self.limits.cost is not None

    def _take(self, reservation: Reservation) -> None:
        self._num_reserved += 1
        self._reserved_tokens += sum(row.max_tokens for row in reservation.rows)
        self._reserved_cost += reservation.cost

    async def _until_released(self) -> None:
        self._released.clear()
        await self._released.wait()

    def _fitting(self, params: Sequence[Params], bill: Bill) -> Reservation:
        """Return the leading rows for which there is room, with the limit that withholds the next one."""
        if not self._is_limited:
            return Reservation(list(params))
        tokens, money = self._left
        rows, spent = list[Params](), 0.0
        for row, prompt in zip(params, bill.prompts, strict=False):
            cost = prompt + bill.per_token * row.max_tokens
            if row.max_tokens > tokens or spent + cost > money:
                limit = "generated_tokens" if row.max_tokens > tokens else "cost"
                return Reservation(rows, spent, limit)
            rows.append(row)
            tokens -= row.max_tokens
            spent += cost
        return Reservation(rows, spent)

    def _clipped(self, row: Params, bill: Bill, limit: str) -> Reservation:
        """Return a row that is cut to what is left, or none where nothing is."""
        tokens, money = self._left
        prompt = next(iter(bill.prompts))
        most = 0.0 if prompt > money else (money - prompt) / bill.per_token if bill.per_token else math.inf
        limit, left = ("cost", most) if most < tokens else ("generated_tokens", tokens)
        if left < 1:
            return Reservation([], limit=limit)
        clipped: Params = row.clip(int(left))
        if clipped.max_tokens > left:  # a canvas cannot be cut
            return Reservation([], limit=limit)
        return Reservation([clipped], prompt + bill.per_token * clipped.max_tokens, limit)

    @property
    def _left(self) -> tuple[float, float]:
        """Tokens and cost that may still be reserved; infinite without a limit."""
        tokens, cost = self.tokens_left, self.cost_left
        # Below 0 where a prompt was longer than it was reckoned: a policy without a price may go on.
        return math.inf if tokens is None else tokens, math.inf if cost is None else max(0.0, cost)

    def reserve_calls(self, num_calls: int) -> int:
        """Reserve as many of ``num_calls`` reward calls as fit, and return their number."""
        left = self.calls_left
        fitting = num_calls if left is None else min(num_calls, max(0, left))
        self._reserved_calls += fitting
        return fitting

    def release_calls(self, num_calls: int) -> None:
        """Release what ``reserve_calls`` has reserved."""
        self._reserved_calls -= num_calls
