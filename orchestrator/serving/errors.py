"""What a request is refused with, in the shape of OpenAI's errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ConfigError
from orchestrator.terminal import one_line

_MAX_MESSAGE = 600  # characters
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable_error",
}
# What is refused before its body is read: the connection ends with it, also where the body has no end.
_UNREAD = (401, 408, 413, 415)


@dataclass(eq=False)
class ApiError(Exception):
    """A refusal or a failure: its HTTP status, one line for a person, and the field that it is about.

    ``retry_after`` is the number of seconds after which the client may try again.
    """

    status: int
    message: str
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Connection": "close"} if self.status in _UNREAD else {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers

    def body(self) -> dict[str, Any]:
        """Return the JSON object that OpenAI's clients read."""
        message = one_line(self.message)
        if len(message) > _MAX_MESSAGE:
            message = f"{message[:_MAX_MESSAGE]}..."
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}


def bad(param: str, value: object, allowed: str) -> ApiError:
    """Return the refusal of a field: its name, its value, and what is allowed."""
    shown = repr(value)
    if len(shown) > 80:
        shown = f"{shown[:80]}..."
    return ApiError(400, f"{param}={shown}: {allowed}", param)


def refused(error: ConfigError, fields: Mapping[str, str]) -> ApiError:
    """Return a configuration's error as that of a request: ``fields`` has the request's names of its keys."""
    key, dot, rest = error.key.partition(".")
    name = f"{fields.get(key, key)}{dot}{rest}"
    return ApiError(400, str(ConfigError(name, error.value, error.allowed)), name)


INTERNAL = ApiError(500, "internal error: the server's log has it")
"""What a client learns of a bug."""
