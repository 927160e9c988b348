"""HTTP to an OpenAI-compatible server: retries with backoff, a rate limit, and errors in one line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from orchestrator.errors import ConfigError, EngineError

_FIRST_WAIT_S = 0.25
_CONNECT_TIMEOUT_S = 10.0
_LONGEST_MESSAGE = 300
# The server is busy, restarting, or behind a proxy that is: the same request may do later.
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, and how it may be asked; the key stays in the variable ``api_key_env``."""

    base_url: str
    api_key_env: str | None
    max_concurrent: int
    requests_per_second: float | None
    max_attempts: int
    max_wait_s: float
    request_timeout_s: float

    @property
    def headers(self) -> dict[str, str]:
        """Raises ConfigError where the variable is not set."""
        if self.api_key_env is None:
            return {}
        key = os.environ.get(self.api_key_env)
        if not key:
            allowed = "must name a variable that is set in the environment of the engine's replicas"
            raise ConfigError("engine.api_key_env", self.api_key_env, allowed)
        return {"Authorization": f"Bearer {key}"}

    @property
    def timeout(self) -> httpx.Timeout:
        """Of a request; waiting for one of our own connections is not the server's fault."""
        return httpx.Timeout(self.request_timeout_s, connect=_CONNECT_TIMEOUT_S, pool=None)


class Refused(EngineError):
    """The server will not do this request, now or later."""


class _Transient(EngineError):
    """The request may do later; ``wait_s`` is what the server asks for."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class Client:
    """Asks one server, ``max_concurrent`` requests at a time and ``requests_per_second`` at most."""

    def __init__(self, access: Access) -> None:
        self._access = access
        limits = httpx.Limits(
            max_connections=access.max_concurrent, max_keepalive_connections=access.max_concurrent
        )
        self._http = httpx.AsyncClient(
            base_url=access.base_url, headers=access.headers, timeout=access.timeout, limits=limits
        )
        self._slots = asyncio.Semaphore(access.max_concurrent)
        rate = access.requests_per_second
        self._limiter = None if rate is None else AsyncLimiter(1, 1 / rate)
        self._backoff = wait_random_exponential(multiplier=_FIRST_WAIT_S, max=access.max_wait_s)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to one request. Raises Refused, or EngineError after ``max_attempts``.

        A cancelled caller closes the connection, which tells the server to stop.
        """
        retrying = AsyncRetrying(
            stop=stop_after_attempt(self._access.max_attempts),
            wait=self._wait,
            retry=retry_if_exception_type(_Transient),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await self._post_once(path, body)
        except _Transient as error:
            raise EngineError(f"{error} ({self._access.max_attempts} attempts)") from error
        raise AssertionError("tenacity always attempts once")

    async def close(self) -> None:
        await self._http.aclose()

    async def _post_once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._slots:
            if self._limiter is not None:
                await self._limiter.acquire()
            try:
                response = await self._http.post(path, json=body)
            except httpx.TransportError as error:
                raise _Transient(f"{self._access.base_url}: {type(error).__name__}: {error}") from error
        return self._read(response)

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        if response.status_code in _TRANSIENT_STATUS:
            raise _Transient(_told(response), _retry_after(response))
        if response.is_error:
            raise Refused(_told(response))
        try:
            reply = response.json()
        except ValueError as error:
            raise Refused(f"{response.url}: the reply is no JSON: {response.text[:80]!r}") from error
        if not isinstance(reply, dict):
            raise Refused(f"{response.url}: the reply is no JSON object")
        return reply

    def _wait(self, state: RetryCallState) -> float:
        """As long as the server asks for, or twice as long each time, with jitter; at most ``max_wait_s``."""
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.wait_s if isinstance(error, _Transient) else None
        return min(self._backoff(state) if asked is None else asked, self._access.max_wait_s)


def served_model(access: Access, model: str) -> Mapping[str, Any]:
    """What the server says of ``model``. Raises ConfigError where it is out of reach, or serves others."""
    key, where = "engine.base_url", access.base_url
    try:
        response = httpx.get(
            f"{where.rstrip('/')}/models", headers=access.headers, timeout=_CONNECT_TIMEOUT_S
        )
    except httpx.TransportError as error:
        raise ConfigError(key, where, f"no server answers: {type(error).__name__}: {error}") from error
    if response.status_code in (401, 403):
        raise ConfigError(
            "engine.api_key_env", access.api_key_env, f"the server refuses the key: {_told(response)}"
        )
    if response.is_error:
        raise ConfigError(key, where, f"must be an OpenAI-compatible server: {_told(response)}")
    try:
        models = {str(entry["id"]): entry for entry in response.json()["data"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(key, where, f"must be an OpenAI-compatible server: {error!r}") from error
    if model not in models:
        raise ConfigError("engine.model", model, f"must be one that the server has: {', '.join(models)}")
    found: Mapping[str, Any] = models[model]
    return found


def _told(response: httpx.Response) -> str:
    """The status, and the server's own words in one line."""
    try:
        body = response.json()
        error = body.get("error", body)
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        text = response.text
    return f"{response.url}: HTTP {response.status_code}: {' '.join(text.split())[:_LONGEST_MESSAGE]}"


def _retry_after(response: httpx.Response) -> float | None:
    """In seconds; a date, which HTTP allows too, is not worth reading: the backoff will do."""
    try:
        return max(0.0, float(response.headers.get("retry-after", "")))
    except ValueError:
        return None
