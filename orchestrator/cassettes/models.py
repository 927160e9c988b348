"""Models that answer from a cassette, and otherwise ask the model behind them and keep what it replied."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from orchestrator.cassettes.tape import Reply, Tape
from orchestrator.errors import ProblemError
from orchestrator.protocols import (
    OVERFLOW,
    Completion,
    Engine,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    ScoreReply,
    ScoreRequest,
    Verifier,
    VerifierBase,
)
from orchestrator.search.overflow import UNREAD, fitting, is_overflow
from orchestrator.search.prices import Price
from orchestrator.search.requests import check_completion, check_logprobs, check_rewards
from orchestrator.storage.journal_lines import digest_of
from orchestrator.types import ENGINE, Overhead, Step, Usage

Request = TypeVar("Request", GenerateRequest, LoglikRequest, ScoreRequest)
TokenIds = tuple[int, ...]
R = TypeVar("R", Completion, ScoreReply, Loglik)


@dataclass
class Counts:
    """How many requests of a run were ``found``, how many ``asked`` of models, and the usage of these."""

    found: int = 0
    asked: int = 0
    usage: dict[str, Usage] = field(default_factory=dict)
    by_home: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter), repr=False)

    def spend(self, name: str, usage: Usage) -> None:
        """Add what a model took for a reply."""
        self.usage[name] = self.usage.get(name, Usage()) + usage

    def summary(self, prices: Mapping[str, Price] = MappingProxyType({})) -> dict[str, float]:
        """Return the entry of ``summary.json``; what was asked has a cost where a policy has a price."""
        tokens = sum(usage.generated_tokens for usage in self.usage.values())
        spent = {"found": self.found, "asked": self.asked, "asked_tokens": tokens}
        if not prices:
            return {**spent}
        cost = sum(p.cost(self.usage.get(name, Usage())) for name, p in prices.items())
        return {**spent, "asked_cost": cost}


@dataclass(frozen=True)
class Deck:
    """One model's tape in a run, and its name there.

    A request that a problem makes twice is two requests, as without a tape.
    """

    tape: Tape
    counts: Counts
    name: str = ENGINE

    async def ask(
        self,
        method: Callable[[Sequence[Request]], Awaitable[list[R | Failure]]],
        requests: Sequence[Request],
        check: Callable[[Request, R], None],
        kind: type[R],
    ) -> list[R | Failure]:
        """Return the replies, in order; those that the tape lacks are requested in one call, and kept."""
        keys = [self._key(request) for request in requests]
        found = [self.tape.find(key) for key in keys]
        known: dict[int, R | Failure] = {i: r for i, r in enumerate(found) if isinstance(r, kind)}
        new = [i for i in range(len(requests)) if i not in known]
        self.counts.found += len(known)
        if new:
            replies = await method([requests[i] for i in new])
            if len(replies) != len(new):
                raise ValueError(f"{len(new)} requests got {len(replies)} replies")
            self._keep([(keys[i], requests[i], r) for i, r in zip(new, replies, strict=True)], check)
            known |= zip(new, replies, strict=True)
        return [known[i] for i in range(len(requests))]

    async def encode(
        self, method: Callable[[Sequence[str]], Awaitable[list[TokenIds | Failure]]], texts: Sequence[str]
    ) -> list[TokenIds | Failure]:
        """Return the token ids of texts. They depend on nothing else, so that equal texts are one entry."""
        keys = [digest_of([text]) for text in texts]
        found = [self.tape.find(key) for key in keys]
        known: dict[int, TokenIds | Failure] = {
            i: r.steps[0].token_ids for i, r in enumerate(found) if isinstance(r, Completion) and r.steps
        }
        new = [i for i in range(len(texts)) if i not in known]
        self.counts.found += len(known)
        self.counts.asked += len(new)
        if new:
            read = dict(zip(new, await method([texts[i] for i in new]), strict=True))
            kept = ((keys[i], ids) for i, ids in read.items() if not isinstance(ids, Failure))
            self.tape.keep([(key, Completion((Step("", ids),), Usage())) for key, ids in kept])
            known |= read
        return [known[i] for i in range(len(texts))]

    def _key(self, request: GenerateRequest | LoglikRequest | ScoreRequest) -> str:
        """Return the request's digest and which of the problem's equal ones it is, from 1.

        Equal requests have equal replies, except that a later one may find more in a model's cache.
        """
        digest = digest_of([request])
        seen = self.counts.by_home[request.home]
        seen[name := f"{id(self.tape):x} {digest}"] += 1
        return f"{digest}-{seen[name]}"

    def _keep(
        self, replies: Sequence[tuple[str, Request, R | Failure]], check: Callable[[Request, R], None]
    ) -> None:
        """Keep what is a reply: a failure, and what the search refuses, is requested again."""
        kept: list[tuple[str, Reply]] = []
        for key, request, reply in replies:
            self.counts.asked += 1
            if isinstance(reply, Failure):
                continue
            self.counts.spend(self.name, reply.usage)
            try:
                check(request, reply)
            except ProblemError:
                continue
            kept.append((key, reply))
        self.tape.keep(kept)


class PlayedEngine(EngineBase):
    """An engine whose replies are kept, and repeated."""

    def __init__(self, engine: Engine, deck: Deck) -> None:
        self._engine = engine
        self._deck = deck

    @property
    def info(self) -> ModelInfo:
        return self._engine.info

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        # A prompt that has no room is a reply, as in the journal: its search shows less then.
        method = fitting(self._engine.generate)
        return await self._deck.ask(method, requests, check_completion, Completion)

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        return await self._deck.ask(self._engine.loglik, requests, check_logprobs, Loglik)

    async def encode(self, texts: Sequence[str]) -> list[TokenIds | Failure]:
        return await self._deck.encode(self._engine.encode, texts)

    async def release(self, home: str) -> Overhead:
        self._deck.counts.by_home.pop(home, None)
        return await self._engine.release(home)

    async def close(self) -> None:
        await self._engine.close()


class PlayedVerifier(VerifierBase):
    """A verifier whose replies are kept, and repeated."""

    def __init__(self, verifier: Verifier, deck: Deck) -> None:
        self._verifier = verifier
        self._deck = deck

    @property
    def info(self) -> ModelInfo:
        return self._verifier.info

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        replies = await self._deck.ask(self._read, requests, self._check, ScoreReply)
        no_room = Failure(OVERFLOW, "the verifier's context had no room for it")
        return [no_room if reply == UNREAD else reply for reply in replies]

    async def _read(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        # A text that has no room is a reply too: its search gives it the reward 0.
        return [UNREAD if is_overflow(reply) else reply for reply in await self._verifier.score(requests)]

    def _check(self, request: ScoreRequest, reply: ScoreReply) -> None:
        if reply != UNREAD:
            check_rewards(self.info.readout, request, reply)

    async def close(self) -> None:
        await self._verifier.close()
