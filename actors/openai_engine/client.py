"""The official ``openai`` client, with bounds on what a server may do, and errors in one line.

Retries, backoff, ``Retry-After`` and time limits are the client's; what a reply means, and how long it may
be, is decided below it, in ``transport``.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, Protocol

import httpx2
import openai

from actors.openai_engine.proxies import proxy_of
from actors.openai_engine.redaction import Secret
from actors.openai_engine.replies import Later, Refused
from actors.openai_engine.transport import ERROR, MOST_BYTES, REPLY, Limits, StrictTransport
from orchestrator.errors import ConfigError, EngineError

_CONNECT_TIMEOUT_S = 10.0
# A reply holds for each token its id, its text and its log-probability, some of it twice.
_LEAST_BYTES, _BYTES_OF_A_TOKEN, _BYTES_OF_A_PROMPT_TOKEN = 2**20, 512, 32
_MOST_BYTES_OF_MODELS = 2**23
_LONGEST_MESSAGE = 1000
_MODEL_KEYS = ("id", "root", "max_model_len")


class Reached(Limits, Protocol):
    """A configuration that says where a server is."""

    @property
    def base_url(self) -> str: ...
    @property
    def api_key_env(self) -> str | None: ...
    @property
    def max_attempts(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, and how it may be called; the key stays in the variable ``api_key_env``."""

    base_url: str
    api_key_env: str | None
    max_concurrent: int
    requests_per_second: float | None
    max_attempts: int
    max_wait_s: float
    request_timeout_s: float

    @classmethod
    def of(cls, config: Reached) -> Access:
        """Return that of a configuration with these keys."""
        return cls(*(getattr(config, f.name) for f in fields(cls)))

    @property
    def key(self) -> str | None:
        """The key. Raises ConfigError where the variable is not set, or holds what no header can."""
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
    def timeout(self) -> httpx2.Timeout:
        """The time limits of a request; waiting for a free connection is not the server's fault."""
        return httpx2.Timeout(self.request_timeout_s, connect=_CONNECT_TIMEOUT_S, pool=None)

    def connect(self) -> tuple[httpx2.AsyncHTTPTransport, str]:
        """Return a transport to the server, and the proxy to name in errors. Raises ConfigError."""
        proxy = proxy_of(self.base_url)
        transport = httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(
                max_connections=self.max_concurrent, max_keepalive_connections=self.max_concurrent
            ),
            verify=_certificates(),
            # The environment's proxies are read in ``proxies``, its certificates in ``_certificates``.
            proxy=None if proxy is None else proxy.url,
            trust_env=False,
        )
        return transport, "" if proxy is None else f" (through the proxy of {proxy.shown})"


class _OfficialClient(openai.AsyncOpenAI):
    """The official client, whose waits are at most ``max_wait_s`` long."""

    def __init__(self, access: Access, transport: httpx2.AsyncBaseTransport) -> None:
        super().__init__(
            # Any key, so that it does not read its variables; the transport sends the real one, or none.
            api_key="none",
            base_url=access.base_url,
            max_retries=access.max_attempts - 1,
            timeout=access.timeout,
            default_headers={"User-Agent": f"AsyncOpenAI/Python {openai.__version__}"},
            http_client=httpx2.AsyncClient(
                transport=transport,
                headers={"Accept-Encoding": "gzip, deflate"},
                timeout=access.timeout,
                trust_env=False,
            ),
        )
        self._max_wait_s = access.max_wait_s

    def _calculate_retry_timeout(self, *args: Any, **kwargs: Any) -> float:
        """Wait as long as the server asks, else twice as long each time with jitter, up to ``max_wait_s``."""
        return min(super()._calculate_retry_timeout(*args, **kwargs), self._max_wait_s)


class Client:
    """Sends requests to one server, at most ``max_concurrent`` at a time and ``requests_per_second``.

    ``result`` is the key under which its replies hold the result.
    """

    def __init__(self, access: Access, *, result: str = "choices") -> None:
        _hush()
        inner, self._through = access.connect()
        self._access = access
        self._secret = Secret(access.key)
        transport = StrictTransport(inner, access.key, access, result=result)
        self._client = _OfficialClient(access, transport)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply to one request. Raises Refused, or EngineError after ``max_attempts``.

        A cancelled call closes the connection, so that the server stops.
        """
        options = _bounded(_most_bytes(body))
        sending = self._client.post(path, cast_to=httpx2.Response, body=body, options=options)
        try:
            return await self._reply(sending)
        except Later as error:
            raise EngineError(f"{error} ({self._access.max_attempts} attempts)") from None

    async def get(self, path: str, most_bytes: int) -> dict[str, Any]:
        """Return the server's reply to a GET of at most ``most_bytes``. Raises Later and Refused."""
        sending = self._client.get(path, cast_to=httpx2.Response, options=_bounded(most_bytes))
        return await self._reply(sending)

    @property
    def through(self) -> str:
        """The proxy in front of the server, in words to add to an error."""
        return self._through

    @property
    def has_key(self) -> bool:
        return self._access.api_key_env is not None

    def repeats_key(self, text: str) -> bool:
        """Return whether a text holds the key that the server was sent."""
        return self._secret.is_in(text)

    def clean(self, message: str) -> str:
        """Return a message that may hold the server's words, without the key."""
        return self._secret.clean(message, _LONGEST_MESSAGE) if self.has_key else message

    async def close(self) -> None:
        await self._client.close()

    async def _reply(self, sending: Awaitable[httpx2.Response]) -> dict[str, Any]:
        """Return the reply, after all attempts. Raises Later and Refused, neither of which holds the key."""
        try:
            response = await sending
        except openai.APIStatusError as error:
            found = error.response.extensions[ERROR]
            kind = Later if isinstance(found, Later) else Refused
            raise kind(f"{found}{self._through}") from None
        except openai.APIConnectionError as error:
            raise Later(f"{self._shown(error.request.url, error.__cause__)}{self._through}") from None
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            raise Refused(f"{self._shown(self._access.base_url, error)}{self._through}") from None
        reply: dict[str, Any] = response.extensions[REPLY]
        return reply

    def _shown(self, url: httpx2.URL | str, error: BaseException | None) -> str:
        return f"{self._secret.clean(url)}: {type(error).__name__}: {self._secret.clean(error)}"


def _bounded(most_bytes: int) -> openai.RequestOptions:
    """Bound the reply to a request."""
    return {"headers": {MOST_BYTES: str(most_bytes)}}


def _most_bytes(body: Mapping[str, Any]) -> int:
    """Return how many bytes the reply to a request may have."""
    num_tokens = body.get("max_tokens", body.get("max_completion_tokens", 0)) * body.get("n", 1)
    num_prompt = len(body.get("prompt", body.get("input", ())))
    has_outputs = body.get("prompt_logprobs") is not None or "input" in body
    of_prompt = _BYTES_OF_A_TOKEN if has_outputs else _BYTES_OF_A_PROMPT_TOKEN
    return int(_LEAST_BYTES + _BYTES_OF_A_TOKEN * num_tokens + of_prompt * num_prompt)


def served_model(access: Access, model: str) -> Mapping[str, Any]:
    """Return the server's entry of ``model``. Raises ConfigError without a server, or without the model."""
    secret, where = Secret(access.key), access.base_url
    try:
        with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop already
            reply, through = thread.submit(lambda: asyncio.run(_models(access))).result()
    except Later as error:
        found = "the server does not answer as it should" if ": HTTP " in str(error) else "no server answers"
        raise ConfigError("engine.base_url", where, f"{found}: {error}") from None
    except Refused as error:
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


async def _models(access: Access) -> tuple[dict[str, Any], str]:
    """Return the server's list of models, and the proxy it came through. Raises Later and Refused."""
    client = Client(replace(access, max_attempts=1, request_timeout_s=_CONNECT_TIMEOUT_S), result="data")
    try:
        return await client.get("models", _MOST_BYTES_OF_MODELS), client.through
    finally:
        await client.close()


def _refusal(access: Access, message: str) -> ConfigError:
    if "HTTP 401" in message or "HTTP 403" in message:
        return ConfigError("engine.api_key_env", access.api_key_env, f"the server refuses the key: {message}")
    return ConfigError("engine.base_url", access.base_url, f"must be an OpenAI-compatible server: {message}")


def _names_a_model(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), str)


@cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates, by SSL_CERT_FILE and SSL_CERT_DIR; reading them takes a while."""
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        files = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
        name, value = next(((n, v) for n, v in files.items() if v), ("SSL_CERT_FILE", None))
        raise ConfigError(name, value, f"must name certificates that can be read: {error}") from None


def _hush() -> None:
    """Keep the libraries from logging headers, which hold the key and anything that a server repeats."""
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
