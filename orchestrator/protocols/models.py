"""The interfaces of engines and verifiers, and the classes that engines and verifiers extend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from orchestrator.errors import ConfigError
from orchestrator.protocols.requests import (
    Completion,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ScoreReply,
    ScoreRequest,
)
from orchestrator.steps.rule import Mode
from orchestrator.types import Overhead

Readout = Literal["per_step", "whole"]
"""What a verifier rewards: each new step, or a whole trajectory with a single number."""

READOUTS: tuple[Readout, ...] = get_args(Readout)

Sampler = Literal["step", "stream"]
"""What the seed of a request means.

With ``step`` it is noise for that request alone, and must not be used twice. With ``stream`` a token depends
on the seed and on what came before it, not on where its request begins: one text may be requested piece by
piece under one seed, and the engine may continue it before the next request.
"""

Method = Literal["generate", "loglik", "score", "encode"]
"""The name of a model's method."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The properties of a model: ``sampler`` is an engine's, ``readout`` and ``sampling`` are a verifier's.

    With ``batch_invariant`` a reply is bitwise the same, whatever else is in its batch or its cache. With
    ``sampling`` a verifier draws what it judges by, and is given the run's seed. One that
    ``lists_constraints`` is asked for a problem's constraints before its first reward (``ScoreRequest``).
    ``special`` are the strings that mark a chat: the tokenizer reads them as one token wherever they stand.
    ``takes_history`` says whether an engine's prompt can hold earlier turns, as a chat template's can; no
    other engine is asked a question that comes after some.
    ``seeds_honoured`` is what a probe of a server found: whether one seed gives one text. None: not probed.
    ``step_modes`` are the ways of ending a step (``GenerateRequest.step``) that an engine knows.
    ``reads`` is the name of the policy whose prefix a verifier is given (``ScoreRequest.prefix``); None: it
    reads texts alone.
    ``tokenizer`` is a digest of an engine's tokenizer: engines with equal ones read each other's token ids.
    None: no other engine reads them.
    """

    batch_invariant: bool = False
    sampler: Sampler = "step"
    readout: Readout = "per_step"
    sampling: bool = False
    lists_constraints: bool = False
    takes_history: bool = False
    special: tuple[str, ...] = ()
    seeds_honoured: bool | None = None
    step_modes: tuple[Mode, ...] = ("delimiter",)
    reads: str | None = None
    tokenizer: str | None = None


class Engine(Protocol):
    """What a search needs of a policy; implementations extend ``EngineBase``."""

    @property
    def info(self) -> ModelInfo: ...

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]: ...

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]: ...

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]: ...

    async def release(self, home: str) -> Overhead: ...

    async def close(self) -> None: ...


class Verifier(Protocol):
    """What a search needs of a verifier; implementations extend ``VerifierBase``."""

    @property
    def info(self) -> ModelInfo: ...

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]: ...

    async def close(self) -> None: ...


class ModelBase:
    """What engines and verifiers have in common, each with a default."""

    __slots__ = ()

    @property
    def info(self) -> ModelInfo:
        return ModelInfo()

    @property
    def template_notes(self) -> Mapping[str, str]:
        """Deviations from the tokenizer and its chat template, by name."""
        return {}

    @property
    def healthy(self) -> bool:
        """Whether it works; once False, it must be replaced."""
        return True

    @property
    def progress(self) -> int | None:
        """Tokens generated or read since the start, which grow while a call runs; None: it does not count.

        It distinguishes a long batch from a hang.
        """
        return None

    async def close(self) -> None:
        """End the background work; requests in flight raise."""


class EngineBase(ModelBase, ABC):
    """A policy: replies come in the order of the requests, and each depends on its request alone.

    A request that cannot be done is a Failure in its place. What a call raises fails the call, and
    ``EngineDeadError`` the engine.

    Example::

        import asyncio
        import random

        from orchestrator.protocols import Completion, EngineBase, Failure
        from orchestrator.testing import check_engine
        from orchestrator.types import Finish, Step, Usage

        class Dice(EngineBase):  # answers with the roll of a die, in one step; a token is a character
            def __init__(self, num_sides=6):
                self.num_sides = num_sides

            async def generate(self, requests):
                return [self.answer(request) for request in requests]

            def answer(self, request):
                if not request.question:
                    return Failure("EmptyQuestion", "there is no question")
                greedy = request.params.temperature == 0
                number = 1 if greedy else random.Random(request.seed).randint(1, self.num_sides)
                text = f"#{number}{request.delimiter}"[: request.params.max_tokens]
                finish = Finish.STEP if text.endswith(request.delimiter) else Finish.LENGTH
                step = Step(text, tuple(map(ord, text)), finish=finish)
                num_read = len(request.question) + len(request.token_ids)
                return Completion((step,), Usage(generated_tokens=len(text), prompt_tokens=num_read))

        check = check_engine(
            Dice(), question="Roll!", answer_marker="#", likelihoods=False, impossible={"question": ""}
        )
        asyncio.run(check)
    """

    __slots__ = ()

    @abstractmethod
    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        """Generate one step, or with ``to_end`` all that remain, for each request."""

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        """Return the likelihood of each request's steps; by default a Failure each."""
        message = f"{type(self).__name__} reports no likelihoods"
        return [Failure("EngineError", message) for _ in requests]

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        """Return the token ids of each text as it continues another one; by default a Failure each.

        The search asks for them where this engine continues what an engine with another tokenizer wrote.
        """
        message = f"{type(self).__name__} reports no token ids of a text"
        return [Failure("EngineError", message) for _ in texts]

    def check_options(self, key: str, asked: str, options: Sequence[str]) -> None:
        """Raise ConfigError of ``key`` unless ``loglik`` can answer an ``OptionsRequest`` with these."""
        raise ConfigError(key, asked, f"needs likelihoods of options, and {type(self).__name__} has none")

    async def release(self, home: str) -> Overhead:
        """Forget a home, whose search has ended; return the overhead that it has caused, once."""
        return Overhead()


class VerifierBase(ModelBase, ABC):
    r"""Anything that rewards: replies come in the order of the requests; each depends on its request alone.

    One that samples derives its seeds from a request's ``seed`` and ``problem_id``, and never its ``home``.

    Example::

        import asyncio

        from orchestrator.protocols import ScoreReply, VerifierBase
        from orchestrator.testing import check_verifier
        from orchestrator.types import Reward, Usage

        class DigitVerifier(VerifierBase):  # the share of a step's characters that are digits
            async def score(self, requests):
                return [self.reply(request) for request in requests]

            def reply(self, request):
                new = request.steps[request.num_locked :]
                usage = Usage(reward_calls=1, reward_tokens=sum(map(len, new)))
                return ScoreReply(tuple(Reward.from_value(self.share(step)) for step in new), usage)

            def share(self, step):
                return (1 + sum(map(str.isdigit, step))) / (2 + len(step))  # never 0 nor 1

        steps, wrong = ("1+2=3\n", "3+4=7\n", "#7\n"), ("1+2=3\n", "3+4=7\n", "#?\n")
        asyncio.run(check_verifier(DigitVerifier(), question="1+2+4", steps=steps, wrong=wrong))
    """

    __slots__ = ()

    @abstractmethod
    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        """Reward each request's new steps, or with the read-out whole all its steps at once."""
