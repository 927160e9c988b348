"""How each interface is asked for the rewards of one trajectory, and what its replies mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from actors.http_verifier import replies
from actors.http_verifier.layout import TokenLayout
from actors.openai_engine.client import Client
from actors.text.tokens import TokenIds
from actors.verifiers.formats import Verdict
from orchestrator.errors import VerifierError
from orchestrator.protocols import Failure, Readout, ScoreRequest
from orchestrator.types import Reward

# What a server's template may add to a text whose tokens are not counted here.
_EXTRA_TOKENS = 2**16


@dataclass(frozen=True, slots=True)
class Scored:
    """The rewards of one request, with the tokens that the server computed, and found in its cache."""

    rewards: tuple[Reward, ...]
    num_computed: int = 0
    num_cached: int = 0


class Head(Protocol):
    """One interface of a server."""

    async def score(self, client: Client, request: ScoreRequest) -> Scored | Failure:
        """Return the rewards of a request with one step or more. Raises EngineError and VerifierError."""
        ...


@dataclass(frozen=True, slots=True)
class Pooling:
    """vLLM's ``/pooling``: the labels at each token of a text, in one request."""

    url: str
    model: str
    layout: TokenLayout
    verdict: Verdict
    num_labels: int

    async def score(self, client: Client, request: ScoreRequest) -> Scored | Failure:
        rendered = self.layout.render(request)
        if isinstance(rendered, Failure):
            return rendered
        length = len(rendered.token_ids)
        rows, computed, cached = await self._ask(client, rendered.token_ids)
        log_odds = []
        for position, prompt in zip(rendered.reads, rendered.prompts, strict=True):
            if (row := len(rows) - length + position) >= 0:
                log_odds.append(self.verdict.log_odds(rows[row]))
                continue
            # It was in the server's cache, and so has no outputs: it is read as the end of its own text.
            own, more, found = await self._ask(client, prompt)
            log_odds.append(self.verdict.log_odds(own[-1]))
            computed, cached = computed + more, cached + found
        return Scored(tuple(map(Reward, log_odds)), computed, cached)

    async def _ask(self, client: Client, token_ids: TokenIds) -> tuple[list[list[float]], int, int]:
        reply = await client.post(self.url, pooling_body(self.model, token_ids))
        rows = replies.rows_of(reply, len(token_ids), self.num_labels)
        return rows, *replies.read_of(reply, len(token_ids))


def pooling_body(model: str, token_ids: TokenIds) -> dict[str, Any]:
    """Return a request for the logits at each token."""
    return {"model": model, "input": list(token_ids), "task": "token_classify", "use_activation": False}


@dataclass(frozen=True, slots=True)
class Classify:
    """vLLM's ``/classify``: the labels at the end of a text, one request for each reward."""

    url: str
    model: str
    layout: TokenLayout
    verdict: Verdict
    num_labels: int

    async def score(self, client: Client, request: ScoreRequest) -> Scored | Failure:
        rendered = self.layout.render(request)
        if isinstance(rendered, Failure):
            return rendered
        log_odds, computed, cached = [], 0, 0
        for prompt in rendered.prompts:
            reply = await client.post(self.url, classify_body(self.model, prompt))
            labels = replies.numbers(replies.data_of(reply).get("probs"), "outputs", self.num_labels)
            log_odds.append(self.verdict.log_odds(labels))
            more, found = replies.read_of(reply, len(prompt))
            computed, cached = computed + more, cached + found
        return Scored(tuple(map(Reward, log_odds)), computed, cached)


def classify_body(model: str, token_ids: TokenIds) -> dict[str, Any]:
    """Return a request for the logits at the end of a text."""
    return {"model": model, "input": list(token_ids), "use_activation": False}


@dataclass(frozen=True, slots=True)
class Completions:
    """vLLM's completions: a language model's verdict as its next token; prefixes are cached there."""

    url: str
    model: str
    layout: TokenLayout
    verdict: Verdict

    async def score(self, client: Client, request: ScoreRequest) -> Scored | Failure:
        rendered = self.layout.render(request, num_more=1)
        if isinstance(rendered, Failure):
            return rendered
        log_odds, computed, cached = [], 0, 0
        for prompt in rendered.prompts:
            reply = await client.post(self.url, self._body(prompt))
            log_odds.append(self.verdict.log_odds(replies.verdict_logprobs(reply, self.verdict.outputs)))
            more, found = replies.read_of(reply, len(prompt))
            computed, cached = computed + more, cached + found
        return Scored(tuple(map(Reward, log_odds)), computed, cached)

    def _body(self, token_ids: TokenIds) -> dict[str, Any]:
        tokens = {"logprob_token_ids": list(self.verdict.outputs), "return_tokens_as_token_ids": True}
        return {
            "model": self.model,
            "prompt": list(token_ids),
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 1,
            **tokens,
        }


@dataclass(frozen=True, slots=True)
class Score:
    """vLLM's ``/score``: how well a solution fits its question, in [0, 1]; one request for each reward."""

    url: str
    model: str
    readout: Readout

    async def score(self, client: Client, request: ScoreRequest) -> Scored | Failure:
        num_steps = len(request.steps)
        first = num_steps if self.readout == "whole" else request.num_locked + 1
        rewards, computed, cached = [], 0, 0
        for n in range(first, num_steps + 1):
            texts = {"text_1": request.question, "text_2": "".join(request.steps[:n])}
            reply = await client.post(self.url, {"model": self.model, **texts})
            rewards.append(Reward.from_value(replies.number(replies.data_of(reply).get("score"), "scores")))
            size = sum(len(text.encode()) for text in texts.values())
            more, found = replies.read_of(reply, size + _EXTRA_TOKENS)
            computed, cached = computed + more, cached + found
        return Scored(tuple(rewards), computed, cached)


@dataclass(frozen=True, slots=True)
class Json:
    """The form that any program can serve: question and steps, for rewards in [0, 1] or log-odds."""

    url: str
    model: str
    readout: Readout

    async def score(self, client: Client, request: ScoreRequest) -> Scored | Failure:
        body = {
            "model": self.model,
            "question": request.question,
            "steps": list(request.steps),
            "num_locked": request.num_locked,
            "readout": self.readout,
        }
        reply = await client.post(self.url, body)
        num_new = 1 if self.readout == "whole" else len(request.steps) - request.num_locked
        return Scored(_rewards(reply, num_new), *replies.counted(reply))


def _rewards(reply: Mapping[str, Any], num_new: int) -> tuple[Reward, ...]:
    if "log_odds" in reply and "rewards" in reply:
        raise VerifierError("the server returned both rewards and log_odds: one of them is needed")
    if "log_odds" in reply:
        return tuple(map(Reward, replies.numbers(reply["log_odds"], "log_odds", num_new)))
    return tuple(map(Reward.from_value, replies.numbers(reply.get("rewards"), "rewards", num_new)))
