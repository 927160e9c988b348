"""The routes: each request is checked, understood, solved, and answered in OpenAI's shape."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, Response

from orchestrator.serving.bodies import read_body
from orchestrator.serving.errors import INTERNAL, ApiError
from orchestrator.serving.hosts import KnownHosts
from orchestrator.serving.keys import Keys
from orchestrator.serving.metrics import CONTENT_TYPE
from orchestrator.serving.offers import NAME
from orchestrator.serving.page import policy, render_page
from orchestrator.serving.progress import Progress
from orchestrator.serving.query import Query, read_chat, read_completion
from orchestrator.serving.replies import Reply, failed
from orchestrator.serving.requests import ChatRequest, CompletionRequest, read_request
from orchestrator.serving.service import Service
from orchestrator.serving.streaming import ClientGone, SearchStream, Writer, unless_gone

log = logging.getLogger(__name__)
_STRATEGY = "strategy"
Read = Callable[[dict[str, Any], str | None], Query]


class Endpoint:
    """The routes of one service."""

    def __init__(self, service: Service, keys: Keys) -> None:
        self._service = service
        self._keys = keys
        self._begun = int(time.time())

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions`` and ``/v1/{strategy}/chat/completions``."""
        return await self._search(request, self._read_chat, "chatcmpl")

    async def completion(self, request: Request) -> Response:
        """``POST /v1/completions`` and ``/v1/{strategy}/completions``."""
        return await self._search(request, self._read_completion, "cmpl")

    def _read_chat(self, body: dict[str, Any], strategy: str | None) -> Query:
        caps, offers = self._service.caps, self._service.served.offers
        return read_chat(read_request(ChatRequest, body), offers, caps, strategy)

    def _read_completion(self, body: dict[str, Any], strategy: str | None) -> Query:
        caps, offers = self._service.caps, self._service.served.offers
        return read_completion(read_request(CompletionRequest, body), offers, caps, strategy)

    async def _search(self, request: Request, read: Read, prefix: str) -> Response:
        holder, settings = self._holder(request), self._service.served.settings
        body = await read_body(
            request.headers, request.stream(), settings.max_request_bytes, settings.body_timeout_s
        )
        query = read(body, request.path_params.get(_STRATEGY))
        progress = Progress(self._service.served.task, query.shows_progress)
        reply_id, created = f"{prefix}-{secrets.token_hex(12)}", int(time.time())
        if query.streams:
            search = asyncio.ensure_future(self._service.solve(query, holder, progress))
            await asyncio.sleep(0)  # a refusal comes at once, and has a status of its own
            if search.done() and search.exception() is not None:
                search.result()
            return SearchStream(search, progress, Writer(query, reply_id, created, settings.keep_alive_s))
        result = await unless_gone(request.receive, self._service.solve(query, holder, progress))
        if result.error is not None:
            raise failed(result.error)
        return _json(Reply(query, result, reply_id, created).whole())

    async def models(self, request: Request) -> Response:
        """``GET /v1/models``: the default, and one for each strategy."""
        self._holder(request)
        offers, strategy = self._service.served.offers, request.path_params.get(_STRATEGY)
        names = [NAME, *(offer.model for offer in offers.all.values())]
        if strategy is not None:
            names = [offers.named(strategy, "path").model]
        return _json({"object": "list", "data": [self._model(name) for name in names]})

    async def model(self, request: Request) -> Response:
        """``GET /v1/models/{name}``."""
        self._holder(request)
        name = request.path_params["name"]
        self._service.served.offers.of_model(name)
        return _json(self._model(name))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._begun, "owned_by": NAME}

    async def health(self, _: Request) -> Response:
        """``GET /healthz``: 503 until the models are ready, and again once there are none."""
        ready = self._service.loaded
        return _json({"status": "ready", "replicas": ready.backend.num_alive()})

    async def metrics(self, request: Request) -> Response:
        """``GET /metrics``."""
        self._holder(request)
        text = self._service.metrics.text(self._service.gauges())
        return Response(text, media_type=CONTENT_TYPE)

    async def page(self, _: Request) -> Response:
        """``GET /``: one file that shows searches; it holds no key and no data."""
        headers = {
            "Content-Security-Policy": policy(),
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(self._page, headers=headers)

    @cached_property
    def _page(self) -> str:
        return render_page(self._service.served, has_keys=bool(self._keys))

    def _holder(self, request: Request) -> int:
        return self._keys.holder(request.headers.get("authorization"))


def make_app(service: Service, keys: Keys) -> FastAPI:
    """Return the application of a service."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    routes = Endpoint(service, keys)
    gets: dict[str, Callable[..., Awaitable[Response]]] = {
        "/": routes.page,
        "/healthz": routes.health,
        "/metrics": routes.metrics,
        "/v1/models": routes.models,
        f"/v1/{{{_STRATEGY}}}/models": routes.models,
        "/v1/models/{name:path}": routes.model,
    }
    # Starlette's routes: FastAPI's would read each argument from the query as well, for a third of the time.
    for path, handler in gets.items():
        app.add_route(path, handler, methods=["GET"])
    for path in ("/v1", f"/v1/{{{_STRATEGY}}}"):
        app.add_route(f"{path}/chat/completions", routes.chat, methods=["POST"])
        app.add_route(f"{path}/completions", routes.completion, methods=["POST"])
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(ClientGone, _nothing)
    app.add_exception_handler(ClientDisconnect, _nothing)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(Exception, _bug)
    _guard(app, service, keys)
    return app


def _guard(app: FastAPI, service: Service, keys: Keys) -> None:
    """Keep other sites' pages out: CORS is off unless set; without keys only this machine's name is valid."""
    origins = service.served.settings.cors_origins
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    if not keys:
        app.add_middleware(KnownHosts)


def _json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, "application/json")


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _json(error.body(), error.status, error.headers)


async def _nothing(_: Request, __: Exception) -> Response:
    """Answer a client that is gone: no one reads it."""
    return Response(status_code=499)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _json(ApiError(error.status_code, message).body(), error.status_code, dict(error.headers or {}))


async def _bug(_: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    return _json(INTERNAL.body(), INTERNAL.status)
