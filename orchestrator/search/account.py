"""Hard limits of one problem, and the account that enforces them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Gt

from orchestrator.schema import Words, checked
from orchestrator.types import Params, Prompt, Usage, total

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


class Account:
    """The usage of one problem, shared by its session and every fork.

    A call's maximum is reserved before dispatch, and what it did not use is released, so that a token or
    reward limit is never exceeded, whatever runs concurrently. ``seconds_before`` is what an earlier part of
    the same search took, ``usage_before`` what it has spent and no reply counts again.
    """

    def __init__(self, limits: Limits, seconds_before: float = 0.0, usage_before: Usage = Usage()) -> None:
        self.limits = limits
        self._seconds_before = seconds_before
        self.usage = usage_before
        self.by_role: dict[str, Usage] = {}
        self.by_policy: dict[str, Usage] = {}
        self.stopped_by: str | None = None
        self._reserved_tokens = 0
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
                self.by_role[prompt.role] = self.by_role.get(prompt.role, Usage()) + usage

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

    async def reserve_tokens(self, params: Sequence[Params]) -> list[Params]:
        """Reserve and return the leading rows that fit; the first may be clipped. Empty if none fits."""
        while True:
            left = self.tokens_left
            if left is None:
                return list(params)
            fitting: list[Params] = []
            for row in params:
                if row.max_tokens > left:
                    break
                fitting.append(row)
                left -= row.max_tokens
            if not fitting and self._reserved_tokens:
                self._released.clear()
                await self._released.wait()
                continue
            if not fitting and left > 0:
                clipped: Params = params[0].clip(left)
                fitting = [clipped] if clipped.max_tokens <= left else []
            self._reserved_tokens += sum(row.max_tokens for row in fitting)
            return fitting

    def release_tokens(self, params: Sequence[Params]) -> None:
        """Release what ``reserve_tokens`` has reserved for these rows."""
        if self.limits.generated_tokens is not None:
            self._reserved_tokens -= sum(row.max_tokens for row in params)
            self._released.set()

    def reserve_calls(self, num_calls: int) -> int:
        """Reserve as many of ``num_calls`` reward calls as fit, and return their number."""
        left = self.calls_left
        fitting = num_calls if left is None else min(num_calls, max(0, left))
        self._reserved_calls += fitting
        return fitting

    def release_calls(self, num_calls: int) -> None:
        """Release what ``reserve_calls`` has reserved."""
        self._reserved_calls -= num_calls
