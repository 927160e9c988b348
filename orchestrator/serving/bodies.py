"""The body of a request: bounded in bytes, time and depth, and strict JSON of sound text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from orchestrator.serving.errors import ApiError
from orchestrator.storage.json_reading import BadJson, parse_object


async def read_body(
    headers: Mapping[str, str], pieces: AsyncIterator[bytes], most: int, seconds: float
) -> dict[str, Any]:
    """Return the JSON object of a request's body. Raises ApiError."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "content-type: must be application/json")
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise ApiError(415, "content-encoding: must be left out, the body is plain JSON")
    try:
        async with asyncio.timeout(seconds):
            data = await _bounded(headers, pieces, most)
    except TimeoutError:
        raise ApiError(408, f"the body did not arrive within {seconds:g} s") from None
    return parse_body(data)


async def _bounded(headers: Mapping[str, str], pieces: AsyncIterator[bytes], most: int) -> bytes:
    too_large = ApiError(413, f"the body must be at most {most:,} bytes", code="request_too_large")
    announced = headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:20]) > most:
        raise too_large
    data = bytearray()
    async for piece in pieces:
        data += piece
        if len(data) > most:
            raise too_large
    return bytes(data)


def parse_body(data: bytes) -> dict[str, Any]:
    """Return the object of a body. Raises ApiError for what is no strict JSON, or holds unsound text."""
    try:
        value = parse_object(data)
    except BadJson as failure:
        raise ApiError(400, f"the body {failure}") from None
    check_texts(value)
    return value


def check_texts(value: Mapping[str, Any]) -> None:
    """Raise ApiError for a text with a null byte or half a surrogate pair: no model has tokens for them."""
    left: list[tuple[str, Any]] = [("", value)]
    while left:
        place, each = left.pop()
        if isinstance(each, str):
            _check_text(place, each)
        elif isinstance(each, dict):
            for key, item in each.items():
                _check_text(place or "the body", key)
                left.append((f"{place}.{key}" if place else key, item))
        elif isinstance(each, list):
            left.extend((f"{place}.{i}", item) for i, item in enumerate(each))


def _check_text(place: str, text: str) -> None:
    if "\x00" in text:
        raise ApiError(400, f"{place}: holds a null byte", place)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ApiError(400, f"{place}: holds half a surrogate pair, which is no text", place) from None
