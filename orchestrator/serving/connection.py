"""One connection of a client: the head of each request is bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from orchestrator.serving.errors import ApiError

BAD_REQUEST = ApiError(400, "this is no HTTP request")


class Connection(HttpToolsProtocol):
    """A connection that is closed where a head is longer than ``max_head`` bytes or takes ``head_s`` seconds.

    It ends as well where its client reads nothing of a reply for ``unread_s`` seconds. uvicorn itself reads
    a head without an end, and waits forever for both. What it refuses by itself has OpenAI's shape here.
    """

    max_head: ClassVar[int] = 2**16
    head_s: ClassVar[float] = 30.0
    unread_s: ClassVar[float] = 60.0
    _timer: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _num_read = _num_parsed = 0
    _has_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_ended()
        self._written()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_begun = False
        super().data_received(data)
        self._num_read = len(data) + (0 if self._has_begun else self._num_read)
        # A header is parsed once it is whole; one without an end is seen here.
        if self._timer is not None and self._num_read > self.max_head and not self.transport.is_closing():
            self._refuse(self._too_long)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._num_parsed, self._has_begun = 0, True
        self._head_ended()
        self._wait()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._num_parsed += len(name) + len(value)
        if self._num_parsed > self.max_head:
            raise self._too_long
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_ended()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(self.unread_s, self._unless_read, self._num_unsent)

    def resume_writing(self) -> None:
        self._written()
        super().resume_writing()

    @property
    def _num_unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def _unless_read(self, before: int) -> None:
        if (left := self._num_unsent) >= before:
            self.transport.abort()
        else:
            self._writing = self.loop.call_later(self.unread_s, self._unless_read, left)

    def _written(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._too_long if self._num_parsed > self.max_head else BAD_REQUEST)

    @property
    def _too_long(self) -> ApiError:
        return ApiError(431, f"the headers must be at most {self.max_head:,} bytes", code="headers_too_large")

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.head_s, self._late)

    def _head_ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait()  # the head of the request after the one that is being answered
        else:
            self._refuse(ApiError(408, f"the headers did not arrive within {self.head_s:g} s"))

    def _refuse(self, error: ApiError) -> None:
        self._head_ended()
        body = msgspec.json.encode(error.body())
        head: dict[str, Any] = {
            "content-type": "application/json", "content-length": len(body), "connection": "close",
        }  # fmt: skip
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.transport.write(STATUS_LINE[error.status] + lines.encode() + b"\r\n" + body)
        self.transport.close()
