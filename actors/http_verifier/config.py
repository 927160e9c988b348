"""The schema of ``verifier=http``: a server that holds a reward model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from actors.checkpoints.models import check_tokenizer_path, make_absolute
from actors.openai_engine.config import check_url
from actors.settings import Count, MaxContext
from actors.verifiers.formats import build_format
from orchestrator.backend import ReplicaVerifier
from orchestrator.errors import ConfigError
from orchestrator.protocols import Readout
from orchestrator.schema import Positive, Words, checked

# The heads of formats that each interface serves.
_HEADS = {"pooling": "classifier", "classify": "classifier", "completions": "lm"}


@dataclass(frozen=True)
@checked("verifier")
class HttpVerifierConfig(ReplicaVerifier):
    """A reward model behind HTTP (``conf/verifier/http.yaml``).

    ``api`` is vLLM's ``pooling`` (a classifier's labels at each token), ``classify`` (at the last token) and
    ``completions`` (a language model's verdict), which take token ids by ``format`` and ``options``;
    ``score``, which takes texts; or ``json``, the form of docs/models.md, which any program can serve.
    """

    model: Annotated[str, MinLen(1), Words("must be the name under which it is served", quoted=True)]
    base_url: str
    api: Literal["pooling", "classify", "completions", "score", "json"] = "pooling"
    format: str = "token_classification"
    readout: Readout = "per_step"
    tokenizer: str | None = None
    max_context: MaxContext = None
    api_key_env: str | None = None
    max_concurrent: Count = 256
    requests_per_second: Positive | None = None
    max_attempts: Count = 6
    max_wait_s: Positive = 30.0
    request_timeout_s: Positive = 600.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_url("verifier.base_url", self.base_url)
        if self.tokenizer is not None:
            check_tokenizer_path("verifier.tokenizer", self.tokenizer)
            make_absolute(self, "tokenizer")
        if not self.reads_tokens:
            return
        head = build_format(self.format, self.options, self.readout).head
        if head != _HEADS[self.api]:
            fits = " or ".join(api for api, served in _HEADS.items() if served == head)
            raise ConfigError("verifier.api", self.api, f"must be {fits} with verifier.format={self.format}")

    @property
    def reads_tokens(self) -> bool:
        """Whether it takes token ids, laid out by the format; else texts."""
        return self.api in _HEADS

    def build(self) -> Any:
        """Reach the server. Raises ConfigError."""
        from actors.http_verifier.verifier import HttpVerifier

        return HttpVerifier(self)
