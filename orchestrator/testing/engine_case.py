"""An engine under test: its requests, and how replies are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from orchestrator.protocols import (
    Completion,
    Engine,
    Failure,
    GenerateInChat,
    GenerateRequest,
    LoglikRequest,
)
from orchestrator.testing.laws import require
from orchestrator.types import Params, Sampling, Step, Turn

SEEDS = range(12)
_CLOSE = 1e-3  # of log-probabilities, where an engine promises no more than rounding


@dataclass(frozen=True)
class EngineCase:
    """An engine, a question that it can answer, and what it promises. See ``check_engine``."""

    engine: Engine
    question: str
    instruction: str = ""
    delimiter: str = "\n"
    answer_marker: str | None = None
    step_tokens: int = 40
    solution_tokens: int = 200
    exact: bool = True
    likelihoods: bool = True
    impossible: Mapping[str, Any] | None = None
    expressions: bool = True

    @property
    def compares(self) -> bool:
        """Return whether equal requests must get equal tokens."""
        return self.exact or self.engine.info.batch_invariant

    def params(self, temperature: float = 1.0, max_tokens: int | None = None) -> Params:
        return Sampling(temperature=temperature, max_tokens=max_tokens or self.step_tokens)

    def request(self, seed: int, **changes: Any) -> GenerateRequest:
        request = GenerateRequest(
            home="p",
            question=self.question,
            instruction=self.instruction,
            token_ids=(),
            params=self.params(),
            seed=seed,
            delimiter=self.delimiter,
            answer_marker=self.answer_marker,
        )
        return replace(request, **changes)

    def in_chat(self, seed: int) -> GenerateRequest:
        """Return a request for one step after earlier turns: the question, and a word in reply."""
        plain = self.request(seed)
        turns = (Turn("user", self.question), Turn("assistant", "Wait."))
        return GenerateInChat(**{f.name: getattr(plain, f.name) for f in fields(plain)}, history=turns)

    def requests(self) -> list[GenerateRequest]:
        """Return requests for one step, with different seeds and problems."""
        return [self.request(seed, home=f"p{seed % 3}") for seed in SEEDS]

    def solutions(self) -> list[GenerateRequest]:
        """Return requests for whole solutions, with different seeds."""
        params = self.params(max_tokens=self.solution_tokens)
        return [self.request(seed, params=params, to_end=True) for seed in SEEDS]

    def likelihood_of(self, before: Sequence[Step], steps: Sequence[Step]) -> LoglikRequest:
        prefix = tuple(t for step in before for t in step.token_ids)
        return LoglikRequest("p", self.question, self.instruction, prefix, tuple(s.token_ids for s in steps))

    async def replies(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Return the reply to each request. Raises AssertionError where the call raises or one is missing."""
        try:
            replies = list(await self.engine.generate(requests))
        except Exception as error:
            raise AssertionError(
                f"generate raised {type(error).__name__}: {error}; a request that cannot be answered "
                "is a Failure in its place"
            ) from error
        require(len(replies) == len(requests), f"{len(requests)} requests got {len(replies)} replies")
        return replies

    async def complete(self, *requests: GenerateRequest) -> list[Completion]:
        """Return the completions. Raises AssertionError where one is a Failure."""
        replies = await self.replies(requests)
        for request, reply in zip(requests, replies, strict=True):
            require(isinstance(reply, Completion), f"a request with seed {request.seed} got {reply!r}")
        return [reply for reply in replies if isinstance(reply, Completion)]

    def require_same(self, found: Sequence[Completion], expected: Sequence[Completion], how: str) -> None:
        """Require equal tokens, and log-probabilities that are equal bit by bit or up to rounding."""
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            where = f"request {i} got {shown_of(one)} {how} and {shown_of(other)} together with the others"
            require(not self.compares or said_of(one) == said_of(other), where)
            if self.compares:
                pairs = zip(one.steps, other.steps, strict=True)
                require(all(self._agree(a.logprob, b.logprob) for a, b in pairs), f"{where}; logprobs differ")

    def _agree(self, a: float | None, b: float | None) -> bool:
        if a is None or b is None or self.engine.info.batch_invariant:
            return a == b
        return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE)


def said_of(completion: Completion) -> tuple[Step, ...]:
    """Return the steps without their log-probabilities, which may differ by a rounding."""
    return tuple(replace(step, logprob=None) for step in completion.steps)


def text_of(completion: Completion) -> str:
    return "".join(step.text for step in completion.steps)


def shown_of(completion: Completion) -> str:
    """Return the texts and log-probabilities, for a message."""
    return ", ".join(f"{s.text!r} ({s.finish.name}, logprob {s.logprob})" for s in completion.steps)
