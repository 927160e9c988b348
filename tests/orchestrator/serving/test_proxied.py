"""What Ray Serve's proxy answers by itself: OpenAI's shape for what is ours, and no change to the rest."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.serving.proxied import middlewares

JSON, TEXT = (b"content-type", b"application/json"), (b"content-type", b"text/plain; charset=utf-8")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
CHAT = "/app/v1/chat/completions"


def start(status: int, kind: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": [kind]}


def body(data: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def through(*messages: Message, path: str = CHAT) -> list[Message]:
    """What a client gets of a proxy that sends messages, and ends."""

    async def proxy(_: Scope, __: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    async def nothing() -> Message:
        raise AssertionError("the middleware reads nothing")

    async def keep(message: Message) -> None:
        sent.append(message)

    sent: list[Message] = []
    (middleware,) = middlewares()
    app: ASGIApp = middleware.cls(proxy, *middleware.args, **middleware.kwargs)
    asyncio.run(app({"type": "http", "path": path}, nothing, keep))
    return sent


def error(sent: list[Message]) -> Any:
    first, second = sent
    assert dict(first["headers"])[b"content-length"] == str(len(second["body"])).encode()
    return json.loads(second["body"])["error"]


def test_no_reply_is_a_lost_replica() -> None:
    sent = through()
    assert sent[0]["status"] == 503 and dict(sent[0]["headers"])[b"retry-after"] == b"1"
    assert error(sent)["code"] == "replica_lost" and error(sent)["type"] == "service_unavailable_error"


@pytest.mark.parametrize("status", [404, 408, 429, 503])
def test_a_text_becomes_an_error(status: int) -> None:
    sent = through(start(status, TEXT), body(b"no ", more=True), body(b"such\nthing"))
    assert sent[0]["status"] == status
    assert error(sent)["message"] == "no such thing"
    assert error(through(start(status, TEXT), body(b"x" * 10**6)))["message"].count("x") == 600


def test_a_stream_that_is_cut_ends_with_an_error() -> None:
    messages = [start(200, EVENTS), body(b"data: {}\n\n", more=True)]
    sent = through(*messages)
    assert sent[:2] == messages and not sent[2]["more_body"]
    assert json.loads(sent[2]["body"].removeprefix(b"data: "))["error"]["code"] == "replica_lost"


@pytest.mark.parametrize(
    "messages",
    [
        [start(200, JSON), body(b"{}")],
        [start(400, JSON), body(b'{"error": {}}')],
        [start(200, EVENTS), body(b"data: {}\n\n", more=True), body(b"")],
        [start(200, JSON), body(b"{", more=True)],  # cut off: only closing the connection shows it
    ],
)
def test_what_a_replica_says_is_left_as_it_is(messages: list[Message]) -> None:
    assert through(*messages) == messages


def test_other_applications_are_left_alone() -> None:
    assert through(path="/other") == []
    text = [start(503, TEXT), body(b"no")]
    assert through(*text, path="/other") == text
