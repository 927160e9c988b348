"""What Ray Serve's proxy answers by itself, in OpenAI's shape: its replica has died, or none is left.

The proxy then sends a text, or nothing, and ends a stream without a word. It wraps itself in what the
function in the environment variable ``PROXY_CALLBACK`` returns, set where Ray starts (docs/serving.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.serving.errors import ApiError
from orchestrator.serving.server_sent import event

PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Ray's variable; its value here is ``orchestrator.serving.proxied:middlewares``."""
LOST = ApiError(
    503, "the replica that held this request is gone: send it again", code="replica_lost", retry_after=1
)
CUT = ApiError(
    503,
    "the stream ends before its answer: its replica is gone, or http_options.request_timeout_s has passed",
    code="replica_lost",
)
_MAX_TEXT = 2000  # bytes
_OURS = "/v1/"


def middlewares() -> list[Middleware]:
    """Return what Ray Serve's proxy is to wrap its application in."""
    return [Middleware(Shaped)]


class Shaped:
    """An application whose errors below ``/v1/`` all have OpenAI's shape, also where it ends early."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _OURS not in scope["path"]:
            await self._app(scope, receive, send)
            return
        reply = _Reply(send)
        await self._app(scope, receive, reply.send)
        await reply.end()


@dataclass
class _Reply:
    """One reply on its way: a text in place of an error is held until it is whole."""

    to: Send
    status: int | None = None
    is_text: bool = False
    is_stream: bool = False
    is_whole: bool = False
    text: bytearray = field(default_factory=bytearray)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = Headers(raw=message["headers"]).get("content-type", "")
            self.status, self.is_stream = message["status"], kind.startswith("text/event-stream")
            self.is_text = message["status"] >= 400 and not kind.startswith("application/json")
        elif message["type"] == "http.response.body":
            self.is_whole = not message.get("more_body", False)
            if self.is_text:
                self.text += message.get("body", b"")[: _MAX_TEXT - len(self.text)]
        if not self.is_text:
            await self.to(message)

    async def end(self) -> None:
        """Complete a reply that was none, was a text, or ended early; another type can only be cut off."""
        if self.status is None:
            await self._refuse(LOST)
        elif self.is_text:
            await self._refuse(ApiError(self.status, self.text.decode(errors="replace") or "no reply"))
        elif self.is_stream and not self.is_whole:
            await self.to({"type": "http.response.body", "body": event(CUT.body()), "more_body": False})

    async def _refuse(self, error: ApiError) -> None:
        body = msgspec.json.encode(error.body())
        headers = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
        raw = Headers(headers).raw
        await self.to({"type": "http.response.start", "status": error.status, "headers": raw})
        await self.to({"type": "http.response.body", "body": body, "more_body": False})
