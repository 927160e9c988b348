"""The schema of ``engine=openai``: a server that is already running."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen

from actors.checkpoints.models import check_tokenizer_path, make_absolute
from actors.settings import Count, MaxContext
from actors.text.prompting import PromptStyle
from orchestrator.errors import ConfigError
from orchestrator.protocols import WholeOnly
from orchestrator.schema import Positive, Words, checked
from orchestrator.steps.rule import StepRule
from orchestrator.types import Params, Sampling


@dataclass(frozen=True)
@checked("engine")
class OpenAIEngineConfig:
    """A model behind an OpenAI-compatible interface (``conf/engine/openai.yaml``).

    With ``api`` chat it makes whole answers alone, ``max_n`` of them in one request; None: as many as a call
    needs, where a probe finds that the server takes ``n``. Without ``probe`` nothing is found out.
    """

    is_remote: ClassVar[bool] = True

    model: Annotated[str, MinLen(1), Words("must be the name under which it is served", quoted=True)]
    base_url: str
    tokenizer: str | None = None
    api: Literal["completions", "chat"] = "completions"
    prompts: Literal["tokens", "text"] = "tokens"
    template: str | None = None
    chat: bool = False
    system: str | None = None
    chat_options: Mapping[str, Any] = field(default_factory=dict)
    logprobs: bool = True
    max_context: MaxContext = None
    api_key_env: str | None = None
    max_concurrent: Count = 256
    requests_per_second: Positive | None = None
    max_attempts: Count = 6
    max_wait_s: Positive = 30.0
    request_timeout_s: Positive = 600.0
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    max_n: Annotated[int | None, Ge(1)] = None
    probe: bool = True

    def __post_init__(self) -> None:
        check_url("engine.base_url", self.base_url)
        if self.tokenizer is not None:
            check_tokenizer_path("engine.tokenizer", self.tokenizer)
        elif "/" in self.model and os.path.isfile(f"{self.model}/tokenizer_config.json"):
            object.__setattr__(self, "tokenizer", self.model)  # a server that was started in this folder
        make_absolute(self, "tokenizer")
        self.style()
        for key in RESERVED & self.extra_body.keys():
            raise ConfigError(f"engine.extra_body.{key}", self.extra_body[key], "is set by the engine itself")

    def style(self) -> PromptStyle:
        """Return how a question is put. Raises ConfigError."""
        return PromptStyle(self.template, self.chat or self.api == "chat", self.system, self.chat_options)

    @property
    def whole_because(self) -> WholeOnly | None:
        """Return the interface's key where it cannot continue a text."""
        return WholeOnly("engine.api", self.api) if self.api == "chat" else None

    def no_steps_by(self, step: StepRule) -> tuple[str, object, str] | None:
        """Return the key and the value because of which steps cannot end so, and why; None: they can."""
        if step.mode == "delimiter":
            return None
        if self.api == "chat":
            lists_tokens = self.logprobs or step.tokens is None
            return None if lists_tokens else ("engine.logprobs", False, "no token of an answer is known")
        if self.prompts == "text":
            return "engine.prompts", "text", "steps must end between known tokens: tokens is needed"
        if isinstance(step.markers, str):
            return "engine", "openai", "a server stops at texts alone: list them in task.step.markers"
        return None

    @property
    def takes(self) -> type[Params]:
        return Sampling

    @property
    def takes_history(self) -> bool:
        return self.style().chat

    def build(self) -> Any:
        """Reach the server and load the tokenizer. Raises ConfigError."""
        if self.api == "chat":
            from actors.openai_engine.chat import ChatEngine

            return ChatEngine(self)
        from actors.openai_engine.engine import OpenAIEngine

        return OpenAIEngine(self)


_URL = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[^/?#@\s:\[\]]+)(:\d{1,5})?(/[^?#@\s]*)?")
_HIGHEST_PORT = 65535


def check_url(key: str, url: str) -> None:
    """Raise ConfigError, which does not show what may be a key."""
    found = _URL.fullmatch(url)
    if found is None or int((found[2] or ":0")[1:]) > _HIGHEST_PORT or not _is_reachable_url(url):
        shown = "(not shown)" if set("@?#") & set(url) else url
        allowed = "must be a URL such as http://127.0.0.1:8000/v1, with no user and no parameters"
        raise ConfigError(key, shown, allowed)


def _is_reachable_url(url: str) -> bool:
    """Return whether the client can make a request of it: host names have further rules."""
    import httpx2

    try:
        host = httpx2.URL(url).host
        # An encoded name is shown decoded, unless no name is behind it.
        return bool(host) and not any(label.startswith("xn--") for label in host.split("."))
    except (httpx2.InvalidURL, ValueError):
        return False


RESERVED = frozenset(
    {
        "model",
        "prompt",
        "messages",
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "n",
        "stop",
        "stream",
        "logprobs",
        "echo",
    }
)
"""The keys of a request's body that the engine sets."""
