"""HTTP to an OpenAI-compatible server: retries with backoff, a rate limit, and errors in one line."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from actors.bounded_http import UnfitReply, fetch
from actors.openai_replies import Later, Refused, read_reply
from actors.proxies import proxy_of
from actors.redaction import Secret
from orchestrator.errors import ConfigError, EngineError

_FIRST_WAIT_S = 0.25
_CONNECT_TIMEOUT_S = 10.0
# A reply holds for each token its id, its text and its log-probability, some of it twice.
_LEAST_BYTES, _BYTES_OF_A_TOKEN, _BYTES_OF_A_PROMPT_TOKEN = 2**20, 512, 32
_MOST_BYTES_OF_MODELS = 2**23
_LONGEST_MESSAGE = 1000
_MODEL_KEYS = ("id", "root", "max_model_len")


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
    def key(self) -> str | None:
        """Raises ConfigError where the variable is not set, or holds what no header can."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            allowed = "must name a variable that is set in the environment of the engine's replicas"
            raise ConfigError("engine.api_key_env", self.api_key_env, allowed)
        if not (key.isascii() and key.isprintable()):
            allowed = "must name a variable that holds a key: printable ASCII, in one line"
            raise ConfigError("engine.api_key_env", self.api_key_env, allowed)
        return key

    @property
    def timeout(self) -> httpx.Timeout:
        """Of a request; waiting for one of our own connections is not the server's fault."""
        return httpx.Timeout(self.request_timeout_s, connect=_CONNECT_TIMEOUT_S, pool=None)

    def connect(self, timeout: httpx.Timeout) -> tuple[httpx.AsyncClient, str]:
        """A client, and what to add to its errors: through which proxy it asks. Raises ConfigError."""
        key, proxy = self.key, proxy_of(self.base_url)
        headers = {"Accept-Encoding": "gzip, deflate"}
        client = httpx.AsyncClient(
            base_url=self.base_url,
            headers=headers if key is None else {**headers, "Authorization": f"Bearer {key}"},
            timeout=timeout,
            limits=httpx.Limits(
                max_connections=self.max_concurrent, max_keepalive_connections=self.max_concurrent
            ),
            verify=_certificates(),
            # What it says of proxies is read here, and of certificates there.
            proxy=None if proxy is None else proxy.url,
            trust_env=False,
        )
        _hush()
        return client, "" if proxy is None else f" (through the proxy of {proxy.shown})"


class Client:
    """Asks one server, ``max_concurrent`` requests at a time and ``requests_per_second`` at most."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._http, self._through = access.connect(access.timeout)
        self._secret = Secret(access.key)
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
            retry=retry_if_exception_type(Later),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await self._post_once(path, body)
        except Later as error:
            message = f"{error}{self._through} ({self._access.max_attempts} attempts)"
        except (Refused, UnfitReply) as error:
            raise Refused(f"{error}{self._through}") from None
        raise EngineError(message)

    @property
    def has_key(self) -> bool:
        return self._access.api_key_env is not None

    def repeats_key(self, text: str) -> bool:
        """Whether a text holds the key that the server was sent."""
        return self._secret.is_in(text)

    def clean(self, message: str) -> str:
        """A message that may hold the server's words, without the key."""
        return self._secret.clean(message, _LONGEST_MESSAGE) if self.has_key else message

    async def close(self) -> None:
        await self._http.aclose()

    async def _post_once(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._slots:
            if self._limiter is not None:
                await self._limiter.acquire()
            request = self._http.build_request("POST", path, json=body)
            return await _exchange(
                self._http, request, self._secret, self._access.request_timeout_s, _most_bytes(body)
            )

    def _wait(self, state: RetryCallState) -> float:
        """As long as the server asks for, or twice as long each time, with jitter; at most ``max_wait_s``."""
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.wait_s if isinstance(error, Later) else None
        return min(self._backoff(state) if asked is None else asked, self._access.max_wait_s)


async def _exchange(
    http: httpx.AsyncClient,
    request: httpx.Request,
    secret: Secret,
    seconds: float,
    most: int,
    result: str = "choices",
) -> dict[str, Any]:
    """One attempt. Raises Later, Refused and UnfitReply, none of which holds the key."""
    where = secret.clean(request.url)
    try:
        fetched = await fetch(http, request, seconds=seconds, most=most)
    except TimeoutError:
        raise Later(f"{where}: ReadTimeout: no whole reply within {seconds:g} s") from None
    except UnfitReply as error:
        raise UnfitReply(f"{where}: {secret.clean(error)}") from None
    except httpx.TransportError as error:
        raise Later(f"{where}: {type(error).__name__}: {secret.clean(error)}") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise Refused(f"{where}: {type(error).__name__}: {secret.clean(error)}") from None
    return read_reply(fetched, secret, result)


def _most_bytes(body: Mapping[str, Any]) -> int:
    """How long the reply to a request may be."""
    num_tokens, num_prompt = body.get("max_tokens", 0), len(body.get("prompt", ()))
    of_prompt = _BYTES_OF_A_PROMPT_TOKEN if body.get("prompt_logprobs") is None else _BYTES_OF_A_TOKEN
    return int(_LEAST_BYTES + _BYTES_OF_A_TOKEN * num_tokens + of_prompt * num_prompt)


def served_model(access: Access, model: str) -> Mapping[str, Any]:
    """What the server says of ``model``. Raises ConfigError where it is out of reach, or serves others."""
    secret, where = Secret(access.key), access.base_url
    try:
        with ThreadPoolExecutor(1) as thread:  # whoever builds an engine may have an event loop already
            reply, through = thread.submit(lambda: asyncio.run(_models(access, secret))).result()
    except Later as error:
        found = "the server does not answer as it should" if ": HTTP " in str(error) else "no server answers"
        raise ConfigError("engine.base_url", where, f"{found}: {error}") from None
    except (Refused, UnfitReply) as error:
        raise _refusal(access, str(error)) from None
    entries = reply.get("data")
    models = {e["id"]: e for e in entries if _names_a_model(e)} if isinstance(entries, list) else {}
    if not models:
        allowed = f"must be an OpenAI-compatible server: it names no model{through}"
        raise ConfigError("engine.base_url", where, allowed)
    if model not in models:
        names = secret.clean(", ".join(models))
        raise ConfigError("engine.model", model, f"must be one that the server has: {names}")
    return {key: models[model].get(key) for key in _MODEL_KEYS}


async def _models(access: Access, secret: Secret) -> tuple[dict[str, Any], str]:
    """The server's list of its models. Raises as ``_exchange`` does."""
    http, through = access.connect(httpx.Timeout(_CONNECT_TIMEOUT_S))
    async with http:
        request = http.build_request("GET", "models")
        try:
            return await _exchange(
                http, request, secret, _CONNECT_TIMEOUT_S, _MOST_BYTES_OF_MODELS, "data"
            ), through
        except Later as error:
            raise Later(f"{error}{through}") from None
        except (Refused, UnfitReply) as error:
            raise Refused(f"{error}{through}") from None


def _refusal(access: Access, message: str) -> ConfigError:
    if "HTTP 401" in message or "HTTP 403" in message:
        return ConfigError("engine.api_key_env", access.api_key_env, f"the server refuses the key: {message}")
    return ConfigError("engine.base_url", access.base_url, f"must be an OpenAI-compatible server: {message}")


def _names_a_model(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str)


@cache
def _certificates() -> ssl.SSLContext:
    """Those that are trusted, by SSL_CERT_FILE and SSL_CERT_DIR; reading them takes a while."""
    try:
        return httpx.create_ssl_context()
    except OSError as error:
        files = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
        name, value = next(((n, v) for n, v in files.items() if v), ("SSL_CERT_FILE", None))
        raise ConfigError(name, value, f"must name certificates that can be read: {error}") from None


def _hush() -> None:
    """Keeps httpx from logging headers, which hold the key and whatever a server repeats."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
