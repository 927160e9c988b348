"""The keys ``serve.*``: where the server listens, and what one request and one key may take."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Le

from orchestrator.config.build import build
from orchestrator.errors import ConfigError
from orchestrator.schema import Count, CountOrZero, NotEmpty, Positive, checked
from orchestrator.search.account import Limits
from orchestrator.serving.keys import Keys
from orchestrator.storage.secret_keys import check_config


@dataclass(frozen=True, slots=True)
@checked("serve")
class ServeSettings:
    """The keys of ``conf/serve.yaml``. Raises ConfigError.

    ``limits`` are the most that any request may take. A key may have ``key_concurrency`` requests at once,
    and ``key_tokens`` generated tokens in each ``key_window_s`` seconds.
    """

    host: NotEmpty = "127.0.0.1"
    port: Annotated[int, Ge(0), Le(65535)] = 8000
    max_queue: CountOrZero = 256
    max_budget: Count = 256
    max_request_bytes: Count = 2**20
    limits: Limits = Limits()
    api_keys_env: str | None = None
    key_concurrency: Count | None = None
    key_tokens: Count | None = None
    key_window_s: Positive = 3600.0
    cors_origins: tuple[str, ...] = ()
    body_timeout_s: Positive = 30.0
    keep_alive_s: Positive = 10.0
    drain_s: Positive = 30.0

    def __post_init__(self) -> None:
        if self.api_keys_env is None and not self.is_loopback:
            allowed = "without keys only this machine may connect: set serve.api_keys_env, or a loopback host"
            raise ConfigError("serve.host", self.host, allowed)
        for name in ("key_concurrency", "key_tokens"):
            if getattr(self, name) is not None and self.api_keys_env is None:
                raise ConfigError(f"serve.{name}", getattr(self, name), "needs serve.api_keys_env")
        if self.key_tokens is not None and self.limits.generated_tokens is None:
            allowed = "needs serve.limits.generated_tokens: what one request may take of it"
            raise ConfigError("serve.key_tokens", self.key_tokens, allowed)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def keys(self) -> Keys:
        """Return the keys of the environment. Raises ConfigError where the variable holds none."""
        if self.api_keys_env is None:
            return Keys(())
        found = [key for key in re.split(r"[\s,]+", os.environ.get(self.api_keys_env, "")) if key]
        if not found:
            allowed = "this environment variable must hold a key, or several with commas between them"
            raise ConfigError("serve.api_keys_env", self.api_keys_env, allowed)
        return Keys(tuple(found))


def read_serve(node: Mapping[str, Any]) -> ServeSettings:
    """Return the node ``serve``, validated. Raises ConfigError, also for a secret in it."""
    check_config({"serve": dict(node)})
    settings = build(ServeSettings, node, "serve")
    assert isinstance(settings, ServeSettings)
    return settings
