"""A reward model behind HTTP, asked as ``engine=openai`` asks a policy: bounded, checked, and retried."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from actors.http_verifier import replies
from actors.http_verifier.config import HttpVerifierConfig
from actors.http_verifier.heads import (
    Classify,
    Completions,
    Head,
    Json,
    Pooling,
    Score,
    classify_body,
    pooling_body,
)
from actors.http_verifier.layout import TokenLayout
from actors.openai_engine.client import Access, Client, served_model
from actors.openai_engine.served import longest_context, root_of
from actors.openai_engine.shared import OUTSIDERS_FAULTS, failure_type, load_tokenizer
from actors.verifiers.formats import build_format
from orchestrator.errors import ConfigError, EngineError, VerifierError
from orchestrator.protocols import Failure, ModelInfo, ScoreReply, ScoreRequest, VerifierBase
from orchestrator.types import Usage

Found = TypeVar("Found")
_RESULTS = {"completions": "choices", "json": "rewards"}
_PROBE = ScoreRequest("probe", "1+1", ("1+1=2\n",), 0)


class HttpVerifier(VerifierBase):
    """One HTTP request a trajectory (``pooling``, ``json``) or a reward; the server batches them."""

    def __init__(self, config: HttpVerifierConfig) -> None:
        """Ask the server for the model, and for a first reward. Raises ConfigError."""
        self._config = config
        self._notes: Mapping[str, str] = {}
        try:
            self._access = Access.of(config)
            self._head: Head = self._head_of(config)
            self._client = self._connected()
        except ConfigError as error:  # of what it shares with engine=openai
            key = error.key.replace("engine.", "verifier.", 1)
            raise ConfigError(key, error.value, error.allowed) from error
        self._once(self._first)
        self._num_read = 0

    @property
    def info(self) -> ModelInfo:
        """Not batch-invariant: a server promises nothing about its batches."""
        return ModelInfo(batch_invariant=False, readout=self._config.readout)

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Where prompts deviate from the tokenizer and its template."""
        return self._notes

    @property
    def progress(self) -> int:
        """Tokens that the server has read for this verifier, cached ones included."""
        return self._num_read

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Return the rewards of each request's new steps, in order. Cancelling it closes the connections."""
        return list(await asyncio.gather(*(self._score(request) for request in requests)))

    async def close(self) -> None:
        await self._client.close()

    async def _score(self, request: ScoreRequest) -> ScoreReply | Failure:
        if not request.steps:
            return Failure("VerifierError", "a trajectory of 0 steps has no reward")
        try:
            scored = await self._head.score(self._client, request)
        except (EngineError, VerifierError) as error:
            return Failure(failure_type(error, "VerifierError"), self._client.clean(str(error)))
        except OUTSIDERS_FAULTS as error:
            kind = type(error).__name__  # its message may hold the server's words
            return Failure("VerifierError", f"the server's reply is malformed ({kind})")
        if isinstance(scored, Failure):
            return scored
        self._num_read += scored.num_computed + scored.num_cached
        usage = Usage(reward_tokens=scored.num_computed, cached_reward_tokens=scored.num_cached)
        return ScoreReply(scored.rewards, usage)

    def _connected(self) -> Client:
        return Client(self._access, result=_RESULTS.get(self._config.api, "data"))

    def _head_of(self, config: HttpVerifierConfig) -> Head:
        if config.api == "json":
            return Json(config.base_url, config.model, config.readout)
        served = served_model(self._access, config.model)
        host = config.base_url.rstrip("/").removesuffix("/v1")
        if config.api == "score":
            return Score(f"{host}/score", config.model, config.readout)
        tokenizer = load_tokenizer(config.tokenizer or root_of(served) or config.model)
        format = build_format(config.format, config.options, config.readout)
        layout = format.layout(tokenizer)
        self._notes = layout.notes
        longest = config.max_context or longest_context(served)
        tokens = TokenLayout(layout, config.readout, longest, len(tokenizer))
        if config.api == "completions":
            return Completions(f"{host}/v1/completions", config.model, tokens, format.verdict(layout, 0))
        kind, url = (Pooling, "pooling") if config.api == "pooling" else (Classify, "classify")
        num_labels = self._num_labels(f"{host}/{url}", tokens)
        verdict = format.verdict(layout, num_labels)
        return kind(f"{host}/{url}", config.model, tokens, verdict, num_labels)

    def _num_labels(self, url: str, tokens: TokenLayout) -> int:
        """Return how many outputs the model has. Raises ConfigError where it is not such a model."""
        rendered = tokens.render(_PROBE)
        if isinstance(rendered, Failure):
            raise ConfigError("verifier.max_context", self._config.max_context, rendered.message)
        model, ids = self._config.model, rendered.token_ids

        async def ask(client: Client) -> int:
            if self._config.api == "classify":
                reply = await client.post(url, classify_body(model, ids))
                return len(replies.numbers(replies.data_of(reply).get("probs"), "outputs", None))
            reply = await client.post(url, pooling_body(model, ids))
            return len(replies.rows_of(reply, len(ids), None)[0])

        return self._once(ask)

    async def _first(self, client: Client) -> None:
        """Ask for a reward, so that a server that has none is noticed at load."""
        scored = await self._head.score(client, _PROBE)
        if isinstance(scored, Failure):
            raise VerifierError(scored.message)

    def _once(self, ask: Callable[[Client], Awaitable[Found]]) -> Found:
        """Return what is found out with a client of its own. Raises ConfigError."""
        try:
            with ThreadPoolExecutor(1) as thread:  # the caller may have an event loop already
                return thread.submit(lambda: asyncio.run(self._with_client(ask))).result()
        except (EngineError, VerifierError, *OUTSIDERS_FAULTS) as error:
            shown = str(error) if isinstance(error, EngineError | VerifierError) else type(error).__name__
            allowed = f"must serve rewards by verifier.api={self._config.api}: {shown}"
            raise ConfigError("verifier.base_url", self._config.base_url, allowed) from None

    async def _with_client(self, ask: Callable[[Client], Awaitable[Found]]) -> Found:
        client = self._connected()
        try:
            return await ask(client)
        except (EngineError, VerifierError) as error:
            raise VerifierError(client.clean(str(error))) from None
        finally:
            await client.close()
