"""Samples that are generated before they are requested: a search waits less, and decides nothing differently.

A reply depends on its request alone. So a request that equals one which was sent ahead is answered by that
one's reply, and all else (the journal, the limits, the usage) is as if it were sent then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from orchestrator.protocols import Completion, Engine, Failure, GenerateRequest
from orchestrator.search.gate import Gate
from orchestrator.types import Overhead

Reply = Completion | Failure


class Ahead:
    """The requests of one problem that are generated ahead, each in its own call through the run's gate."""

    def __init__(self, engine: Engine, gate: Gate) -> None:
        self._engine = engine
        self._gate = gate
        self._tasks: dict[GenerateRequest, asyncio.Task[Reply]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, requests: Sequence[GenerateRequest]) -> None:
        """Send those that are not on their way."""
        for request in requests:
            if request not in self._tasks:
                self._tasks[request] = asyncio.ensure_future(self._reply(request))

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Reply]:
        """Return the replies, of which some may be there; the others are requested in one call."""
        new = [r for r in requests if r not in self._tasks]
        known = {r: self._tasks[r] for r in requests if r in self._tasks}
        found, asked = await asyncio.gather(asyncio.gather(*known.values()), self._ask(new))
        for request in known:
            del self._tasks[request]
        replies = {**dict(zip(known, found, strict=True)), **dict(zip(new, asked, strict=True))}
        return [replies[r] for r in requests]

    async def _reply(self, request: GenerateRequest) -> Reply:
        (reply,) = await self._gate.ask(self._engine.generate, [request])
        return reply

    async def _ask(self, requests: Sequence[GenerateRequest]) -> list[Reply]:
        return await self._engine.generate(requests) if requests else []

    async def cancel(self) -> Overhead:
        """Cancel what was not requested; return the tokens of replies that are there.

        What a cancelled call has cost is in the overhead that the engine returns at ``release``.
        """
        tasks, self._tasks = [*self._tasks.values()], {}
        for task in tasks:
            task.cancel()
        replies = await asyncio.gather(*tasks, return_exceptions=True)
        spent = [r.usage.generated_tokens for r in replies if isinstance(r, Completion)]
        return Overhead(speculated_tokens=sum(spent))
