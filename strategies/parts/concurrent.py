"""Concurrent branches of one search."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def concurrently(branches: Iterable[Awaitable[T]]) -> list[T]:
    """Return all results, in the order of the branches; the first error cancels the others and is raised."""
    tasks = [asyncio.ensure_future(branch) for branch in branches]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        # No branch outlives its search: after an error the others would continue to spend.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
