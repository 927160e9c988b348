"""A running server: it answers at once, takes requests once the models are ready, and drains."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn

from orchestrator.emit import emit
from orchestrator.serving.app import make_app
from orchestrator.serving.connection import Connection
from orchestrator.serving.keys import Keys
from orchestrator.serving.service import Loaded, Service, ended

_BACKLOG = 2048
# Longer than clients keep idle connections: one that they use again is then not closed under them.
_KEEP_ALIVE_S = 75
_LAST_WORDS_S = 1.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at the first address of a host. Raises OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # With the protocol named asyncio turns Nagle's algorithm off; else each reply would wait for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except BaseException:
        listening.close()
        raise
    return listening


class _Server(uvicorn.Server):
    """Leaves the signals to its caller."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """One service behind a socket that listens. ``stop`` ends ``run``; a second call ends it at once."""

    def __init__(self, service: Service, keys: Keys, listening: socket.socket) -> None:
        self._service = service
        self._listening = listening
        self._stopping = asyncio.Event()
        config = uvicorn.Config(
            make_app(service, keys),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # what goes wrong is logged where it is handled
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            # What is cut off after ``serve.drain_s`` has this much longer to reach its client.
            timeout_graceful_shutdown=math.ceil(service.served.settings.drain_s + _LAST_WORDS_S),
        )
        self._server = _Server(config)

    def stop(self) -> None:
        """Refuse new requests; those in flight may finish within ``serve.drain_s``, unless called again.

        Then they end with an error in OpenAI's shape. Must be called on the server's loop.
        """
        loop, settings = asyncio.get_running_loop(), self._service.served.settings
        if self._stopping.is_set():
            self._service.cut()
            loop.call_later(_LAST_WORDS_S, self._force)
        else:
            loop.call_later(settings.drain_s, self._service.cut)
        self._service.close()
        self._stopping.set()
        self._server.should_exit = True

    def _force(self) -> None:
        self._server.force_exit = True

    async def run(self, loading: Coroutine[Any, Any, Loaded]) -> None:
        """Serve until ``stop``, and close the models. Raises what ``loading`` raises."""
        web = asyncio.ensure_future(self._server.serve(sockets=[self._listening]))
        load, stopping = asyncio.ensure_future(loading), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({load, stopping, web}, return_when=asyncio.FIRST_COMPLETED)
            if load.done():
                self._service.has(load.result())
                emit("server_ready", "the models are ready")
            await asyncio.wait({stopping, web}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not self._stopping.is_set():  # a second call would end what is in flight
                self.stop()
            await asyncio.wait({web})
            await ended(load, stopping)
            if not load.cancelled() and load.exception() is None:
                await load.result().backend.close()


@contextmanager
def stopped_by_signals(server: HttpServer) -> Iterator[None]:
    """Let a signal to this process stop the server, inside the block."""
    loop = asyncio.get_running_loop()

    def hear(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(server.stop)

    before = {number: signal.signal(number, hear) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: set by a library in C
