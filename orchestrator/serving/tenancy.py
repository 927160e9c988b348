"""The models as one request sees them: at a home of its own, with the request's bounds on a text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from msgspec import UnsetType

from orchestrator.protocols import (
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
    Task,
    Verifier,
    VerifierBase,
    step_rule_of,
)
from orchestrator.steps.rule import BY_DELIMITER, StepRule
from orchestrator.types import Finish, Overhead, Params, Problem, Step

OnReply = Callable[[GenerateRequest, Completion], None]


@dataclass
class Rows:
    """How many rows of requests are at the models now."""

    num: int = 0

    @contextmanager
    def count(self, num: int) -> Iterator[None]:
        """Count rows inside the block."""
        self.num += num
        try:
            yield
        finally:
            self.num -= num


@dataclass
class Generated:
    """How many tokens the policies have generated for one request, whether its search has used them or not.

    ``overhead`` is the engines', known once the search has ended.
    """

    overhead: Overhead = Overhead()
    _delivered: int = 0
    _unanswered: int = 0

    @property
    def counted(self) -> int:
        """As the engines have counted them: an estimate for a call that was cut off, or nothing."""
        return self._delivered + self.overhead.retried_tokens + self.overhead.speculated_tokens

    @property
    def charged(self) -> int:
        """As they count for a key: a call that was cut off with the most that it may have generated."""
        return self.counted + max(0, self._unanswered - self.overhead.speculated_tokens)

    async def by(self, engine: Engine, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Return an engine's replies, counted."""
        most = sum(request.params.max_tokens for request in requests)
        # It remains so where no reply comes: no engine counts a part of one exactly.
        self._unanswered += most
        replies = await engine.generate(requests)
        self._unanswered -= most
        self._delivered += sum(num_generated(reply) for reply in replies)
        return replies


def num_generated(reply: Completion | Failure) -> int:
    """Return the tokens of a reply that has arrived; a failure has none."""
    return reply.usage.generated_tokens if isinstance(reply, Completion) else 0


@dataclass
class RequestEngine(EngineBase):
    """A policy for one request. Two requests of one problem are two homes: neither releases the other's.

    ``max_tokens`` bounds a whole answer, and an answer ends with the step that completes one of ``stops``.
    With ``on_reply`` whole texts are requested one by one, and it is called with each answer as it ends:
    replies do not depend on what is requested with them. A text for a role, which has no ``answer_marker``
    where the task has one, is no answer. ``generated`` counts the tokens of all replies.
    """

    engine: Engine
    home: str
    rows: Rows
    generated: Generated = field(default_factory=Generated)
    answer_marker: str | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    on_reply: OnReply | None = None
    _tails: dict[tuple[int, ...], str] = field(default_factory=dict, init=False)
    _discarded: Overhead = field(default=Overhead(), init=False)

    @property
    def info(self) -> ModelInfo:
        return self.engine.info

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        sent = [replace(request.at(self.home), params=self._params(request)) for request in requests]
        with self.rows.count(len(sent)):
            replies = await self._replies(sent)
        if self.max_tokens is None and not self.stops:
            return replies
        return [
            self._bounded(request, reply)
            if isinstance(reply, Completion) and self._is_answer(request)
            else reply
            for request, reply in zip(requests, replies, strict=True)
        ]

    async def _replies(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        if self.on_reply is None or not all(request.to_end for request in requests):
            return await self.generated.by(self.engine, requests)
        replies = list[Completion | Failure]()
        calls = [asyncio.ensure_future(self._one(request, self.on_reply, replies)) for request in requests]
        try:
            return list(await asyncio.gather(*calls))
        except asyncio.CancelledError:
            self._discarded += Overhead(speculated_tokens=sum(map(num_generated, replies)))
            raise
        finally:
            for call in calls:
                call.cancel()

    async def _one(
        self, request: GenerateRequest, on_reply: OnReply, replies: list[Completion | Failure]
    ) -> Completion | Failure:
        (reply,) = await self.generated.by(self.engine, [request])
        replies.append(reply)
        if isinstance(reply, Completion) and self._is_answer(request):
            on_reply(request, reply)
        return reply

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        with self.rows.count(len(requests)):
            return await self.engine.loglik([request.at(self.home) for request in requests])

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        return await self.engine.encode(texts)

    async def release(self, home: str) -> Overhead:
        overhead = await self.engine.release(self.home)
        self.generated.overhead += overhead
        return overhead + self._discarded

    async def close(self) -> None:
        """Do nothing: the engine is the server's."""

    def _is_answer(self, request: GenerateRequest) -> bool:
        """Return whether a text may state an answer: a critique, a choice or a verdict does not."""
        return self.answer_marker is None or request.answer_marker is not None

    def _params(self, request: GenerateRequest) -> Params:
        if self.max_tokens is None or not self._is_answer(request):
            return request.params
        return request.params.clip(max(1, self.max_tokens - len(request.token_ids)))

    def _bounded(self, request: GenerateRequest, reply: Completion) -> Completion:
        """Return a reply up to where the text must end, with a last step that says so."""
        steps, prefix, tail = list[Step](), request.token_ids, self._tails.get(request.token_ids, "")
        after = ""
        for step in reply.steps:
            prefix += step.token_ids
            text, tail = tail + step.text, (tail + step.text)[-_longest(self.stops) :]
            steps.append(self._ended(request, step, text, after, len(prefix)))
            after += step.text
            if steps[-1].finish is not step.finish:
                break
        if self.stops:
            self._tails[prefix] = tail
        return replace(reply, steps=tuple(steps))

    def _ended(self, request: GenerateRequest, step: Step, text: str, after: str, num_tokens: int) -> Step:
        if any(stop in text for stop in self.stops):
            return replace(step, finish=Finish.EOS)
        is_full = self.max_tokens is not None and num_tokens >= self.max_tokens
        if is_full and step.finish is Finish.STEP and not request.answered_by(step.text, after):
            return replace(step, finish=Finish.LENGTH)
        return step


def _longest(stops: Sequence[str]) -> int:
    return max(map(len, stops), default=1)


@dataclass
class RequestVerifier(VerifierBase):
    """A verifier for one request."""

    verifier: Verifier
    home: str
    rows: Rows

    @property
    def info(self) -> ModelInfo:
        return self.verifier.info

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        with self.rows.count(len(requests)):
            return await self.verifier.score([request.at(self.home) for request in requests])

    async def close(self) -> None:
        """Do nothing: the verifier is the server's."""


@dataclass(frozen=True, slots=True)
class Ungraded:
    """A task whose questions come from clients: no answer is known, so none is right."""

    task: Task

    @property
    def delimiter(self) -> str:
        return self.task.delimiter

    @property
    def step(self) -> StepRule:
        """How a step ends."""
        rule = step_rule_of(self.task)
        return BY_DELIMITER if isinstance(rule, UnsetType) else rule

    @property
    def answer_marker(self) -> str | None:
        return self.task.answer_marker

    @property
    def instruction(self) -> str:
        return self.task.instruction

    @property
    def num_problems(self) -> int:
        return 0

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        return iter(())

    def extract(self, text: str) -> str | None:
        return self.task.extract(text)

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return await self.task.keys(answers)

    async def grade(self, answer: str | None, reference: str) -> bool:
        return False
