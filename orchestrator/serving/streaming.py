"""Server-sent events: what a search reaches while it runs, then its answer; and its end with its client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from orchestrator.outcome import ProblemResult
from orchestrator.serving.errors import INTERNAL, ApiError
from orchestrator.serving.progress import Progress
from orchestrator.serving.query import Query
from orchestrator.serving.replies import Reply, failed, make_chunk, opening, silent, usage_object
from orchestrator.serving.server_sent import DONE, KEEP_ALIVE, event
from orchestrator.serving.service import ended

T = TypeVar("T")
log = logging.getLogger(__name__)


class ClientGone(Exception):
    """The client has closed the connection before its answer was there."""


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Return what ``work`` returns. Raises ClientGone once the client disconnects, which cancels the work."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        await ended(task, gone)


async def disconnected(receive: Receive) -> None:
    """Wait until the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


class SearchStream(Response):
    """A stream of events: its search ends with it, whether it was sent whole or its client has gone."""

    media_type = "text/event-stream"

    def __init__(self, search: asyncio.Future[ProblemResult], progress: Progress, writer: Writer) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._search, self._progress, self._writer = search, progress, writer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientGone):
                await unless_gone(receive, self._send_all(send))
        finally:
            await ended(self._search)

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._writer.events(self._search, self._progress)) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(frozen=True)
class Writer:
    """What the events of one stream say. ``created`` is in seconds since 1970."""

    query: Query
    reply_id: str
    created: int
    keep_alive_s: float

    async def events(
        self, search: asyncio.Future[ProblemResult], progress: Progress
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events; a search that fails ends them with an error in OpenAI's shape."""
        try:
            if first := opening(self.query):
                yield self._chunk(first, progress)
            while not search.done():
                if not await self._changed(search, progress):
                    yield KEEP_ALIVE
                elif progress.changed.is_set() and not search.done():
                    yield self._chunk(silent(self.query), progress, progress.take())
            reply = self._reply(search.result())
            if self.query.shows_progress and progress.changed.is_set():
                yield self._chunk(silent(self.query), progress, progress.take())
            for value in reply.chunks():
                yield event(value)
            yield DONE
        except ApiError as error:
            yield event(error.body())
        except Exception:
            log.exception("a search failed")
            yield event(INTERNAL.body())

    def _reply(self, result: ProblemResult) -> Reply:
        if result.error is not None:
            raise failed(result.error)
        return Reply(self.query, result, self.reply_id, self.created)

    def _chunk(
        self, choices: list[dict[str, Any]], progress: Progress, state: dict[str, Any] | None = None
    ) -> bytes:
        usage = usage_object(progress.usage)
        return event(make_chunk(self.query, self.reply_id, self.created, choices, usage, state))

    async def _changed(self, search: asyncio.Future[Any], progress: Progress) -> bool:
        """Wait for the search's end or, if it is shown, its progress; return False where neither comes."""
        changed = asyncio.ensure_future(progress.changed.wait())
        shown = {search, changed} if self.query.shows_progress else {search}
        try:
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait(shown, timeout=self.keep_alive_s, return_when=first)
            return bool(done)
        finally:
            await ended(changed)
