"""Whose an event is: several runs may be at work in one process, as calls of the library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(eq=False)
class Scope:
    """One run at work: what happens in it, and in the tasks and threads that it starts with its context."""

    is_at_work: bool = True

    def may_hold(self, _event: object) -> bool:
        """Return whether what happens here is of this run, or of none at work: replicas that runs share."""
        here = _current.get()
        return here is self or here is None or not here.is_at_work


_current: ContextVar[Scope | None] = ContextVar("scope", default=None)


@contextmanager
def own_scope() -> Iterator[Scope]:
    """Make the block a run of its own."""
    token = _current.set(scope := Scope())
    try:
        yield scope
    finally:
        scope.is_at_work = False
        _current.reset(token)


async def apart(results: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Yield what ``results`` does, as a run of its own.

    A generator works in the context of whoever asks it for the next value. This one has a context for all of
    its steps, which its caller, and other generators of the same task, neither see nor change.
    """
    loop, context, scope = asyncio.get_running_loop(), copy_context(), Scope()
    context.run(_current.set, scope)

    async def step() -> T | None:
        return await anext(results, None)

    async def close() -> None:
        await results.aclose()

    try:
        while (result := await loop.create_task(step(), context=context)) is not None:
            yield result
    finally:
        await loop.create_task(close(), context=context)
        scope.is_at_work = False
