"""The layer between the official client and a server: replies are read within bounds and classified.

The client decides by the status and the headers of a reply whether a request is retried, and when. Servers
have their own conventions (``replies``), so the client gets a reply in the client's terms: a status,
``x-should-retry``, ``retry-after-ms``. What was read, or why it was refused, is in the extensions of the
response.

The key is added here, in the last step before the server: the client, its logs and its errors never hold it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import httpx2

from actors.openai_engine.bounded_http import Fetched, UnfitReply, fetch
from actors.openai_engine.redaction import Secret
from actors.openai_engine.replies import Later, Refused, read_reply

MOST_BYTES = "x-most-bytes"
"""The header with the bytes that a reply may have. It is not sent."""
REPLY, ERROR = "murmuration.reply", "murmuration.error"
"""The keys of a response's extensions: the reply as a dictionary, or the Later or Refused that it means."""

# The client adds more: a description of the machine, and variables such as OPENAI_ORG_ID and
# OPENAI_CUSTOM_HEADERS, which are meant for another server.
_SENT = frozenset(
    {"host", "accept", "accept-encoding", "connection", "content-type", "content-length", "user-agent"}
)
# The client does not retry at all where it should wait for longer.
_LONGEST_WAIT_S = 120.0


class Limits(Protocol):
    """What bounds the requests to one server."""

    @property
    def max_concurrent(self) -> int: ...
    @property
    def requests_per_second(self) -> float | None: ...
    @property
    def max_wait_s(self) -> float: ...
    @property
    def request_timeout_s(self) -> float: ...


class Pace:
    """Starts requests one after another, at least ``1 / per_second`` seconds apart; None: at once."""

    def __init__(self, per_second: float | None) -> None:
        self._interval_s = 0.0 if per_second is None else 1 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next free moment."""
        if self._interval_s:
            now = asyncio.get_running_loop().time()
            begin = max(now, self._next)
            self._next = begin + self._interval_s
            await asyncio.sleep(begin - now)


class StrictTransport(httpx2.AsyncBaseTransport):
    """Sends requests over ``inner``; ``result`` is the key under which a reply holds its result."""

    def __init__(
        self, inner: httpx2.AsyncBaseTransport, key: str | None, limits: Limits, *, result: str
    ) -> None:
        self._inner = inner
        self._key, self._secret = key, Secret(key)
        self._limits = limits
        self._result = result
        self._slots = asyncio.Semaphore(limits.max_concurrent)
        self._pace = Pace(limits.requests_per_second)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Make one attempt. Raises httpx2.TransportError, whose message may hold the key."""
        most, seconds = int(request.headers[MOST_BYTES]), self._limits.request_timeout_s
        async with self._slots:
            await self._pace.turn()
            try:
                fetched = await fetch(self._inner, self._outgoing(request), seconds=seconds, most=most)
            except TimeoutError:
                raise httpx2.ReadTimeout(f"no whole reply within {seconds:g} s") from None
            except UnfitReply as error:
                where = self._secret.clean(request.url)
                return self._refusal(400, UnfitReply(f"{where}: {self._secret.clean(error)}"))
        return self._meaning(fetched)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _outgoing(self, request: httpx2.Request) -> httpx2.Request:
        """Return the request as it is sent: with the key, and without what the client adds."""
        headers = {name: value for name, value in request.headers.items() if name in _SENT}
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key}"
        return httpx2.Request(
            request.method, request.url, headers=headers, stream=request.stream, extensions=request.extensions
        )

    def _meaning(self, fetched: Fetched) -> httpx2.Response:
        """Return a reply in the client's terms."""
        try:
            reply = read_reply(fetched, self._secret, self._result)
        except (Later, Refused) as error:
            is_error = fetched.status >= 300
            return self._refusal(fetched.status if is_error else 502, error)
        return httpx2.Response(200, extensions={REPLY: reply})

    def _refusal(self, status: int, error: Later | Refused | UnfitReply) -> httpx2.Response:
        headers = {"x-should-retry": "true" if isinstance(error, Later) else "false"}
        if isinstance(error, Later) and error.wait_s is not None:
            wait_s = min(error.wait_s, self._limits.max_wait_s, _LONGEST_WAIT_S)
            headers["retry-after-ms"] = f"{max(1000 * wait_s, 1):.0f}"  # the client reads 0 as absent
        return httpx2.Response(status, headers=headers, extensions={ERROR: error})
