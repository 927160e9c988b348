"""One HTTP exchange, bounded from its start to its end: in seconds, in bytes, and in bytes once unpacked."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

import httpx2

from orchestrator.errors import EngineError

_UNPACKED = ("gzip", "x-gzip", "deflate")
_NOT_UNPACKED = ("br", "zstd", "compress", "x-compress", "dcb", "dcz")
_MOST_LAYERS = 3
# zlib detects whether a stream is gzip or zlib.
_EITHER_HEADER = 47


class UnfitReply(EngineError):
    """A reply that is too long, or packed in a way that is not accepted."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole reply; the names in ``headers`` are lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


async def fetch(
    transport: httpx2.AsyncBaseTransport, request: httpx2.Request, *, seconds: float, most: int
) -> Fetched:
    """Return the reply to one request, of at most ``most`` bytes.

    Raises TimeoutError after ``seconds``, even while bytes still arrive; UnfitReply; and what the transport
    raises. Redirects are not followed: they would send the key elsewhere.
    """
    async with asyncio.timeout(seconds):
        response = await transport.handle_async_request(request)
        try:
            body = await _body(response, most)
        finally:
            await response.aclose()
    return Fetched(str(request.url), response.status_code, dict(response.headers), body)


async def _body(response: httpx2.Response, most: int) -> bytes:
    layers = _layers(response.headers.get("content-encoding", ""), most)
    body = bytearray()
    async for data in response.aiter_raw():
        body += reduce(lambda packed, layer: layer.unpack(packed), layers, data)
        if len(body) > most:
            raise _too_long(most)
    if not all(layer.is_over for layer in layers) and response.num_bytes_downloaded:
        raise httpx2.RemoteProtocolError("the packed reply ends early")
    return bytes(body)


def _layers(encoding: str, most: int) -> list[_Unpacker]:
    """Return what unpacks a body, the outermost first; unknown names are ignored, as other clients do."""
    names = [name.strip().lower() for name in encoding.split(",")]
    for name in names:
        if name in _NOT_UNPACKED:
            raise UnfitReply(f"the reply is packed as {name}, which was not requested")
    packed = [name for name in names if name in _UNPACKED]
    if len(packed) > _MOST_LAYERS:
        raise UnfitReply(f"the reply is packed {len(packed)} times over")
    return [_Unpacker(most) for _ in packed]


class _Unpacker:
    """Unpacks gzip and deflate; stops as soon as there is more than ``most`` bytes."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._stream = zlib.decompressobj(_EITHER_HEADER)

    @property
    def is_over(self) -> bool:
        return self._stream.eof

    def unpack(self, data: bytes) -> bytes:
        if self._stream.eof:  # anything after the end is ignored
            return b""
        try:
            # One byte more than is left, since 0 would be no bound.
            unpacked = self._stream.decompress(data, self._left + 1)
        except zlib.error as error:
            raise UnfitReply(f"the reply cannot be unpacked: {error}") from None
        self._left -= len(unpacked)
        if self._left < 0:
            raise _too_long(self._most)
        return unpacked


def _too_long(most: int) -> UnfitReply:
    return UnfitReply(f"the reply is longer than the {most:,} bytes that are allowed")
