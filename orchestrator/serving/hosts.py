"""Which names a server without keys answers to: no site can then reach it by a name of its own."""

from __future__ import annotations

import ipaddress

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.serving.errors import ApiError

_NAMES = ("localhost", "testserver")  # the second is what Starlette's own client sends
_REFUSED = ApiError(
    400,
    "host: without keys the server answers to localhost and loopback addresses alone",
    code="unknown_host",
)


class KnownHosts:
    """An application that is reached by a loopback name, and by no other."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_known(Headers(scope=scope).getlist("host")):
            await self._app(scope, receive, send)
            return
        body = msgspec.json.encode(_REFUSED.body())
        await Response(body, _REFUSED.status, media_type="application/json")(scope, receive, send)


def is_known(hosts: list[str]) -> bool:
    """Return whether a request names this machine, once."""
    if len(hosts) != 1:
        return False
    name, _, _ = hosts[0].removeprefix("[").partition("]" if hosts[0].startswith("[") else ":")
    if name in _NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
