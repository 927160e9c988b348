"""The interfaces of engines, verifiers and tasks, and the requests and replies that pass through them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from msgspec import UNSET, UnsetType

from orchestrator.stated.answer import states_answer
from orchestrator.types import Overhead, Params, Problem, Reward, Step, Turn, Usage


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One continuation of one prefix.

    The engine renders ``instruction`` and ``question`` with its own template and appends ``token_ids``
    (the steps so far, exactly as it returned them). It generates one step, or with ``to_end`` continues
    to the end of the text or of the first step that the request is ``answered_by``. ``home`` names the
    problem, for routing and prefix caches alone. The reply depends on nothing but the request.
    """

    home: str
    question: str
    instruction: str
    token_ids: tuple[int, ...]
    params: Params
    seed: int
    delimiter: str
    answer_marker: str | None
    to_end: bool = False

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns before the question; a ``GenerateInChat`` has some."""
        return ()

    def answered_by(self, step: str) -> bool:
        """Return whether a step states the final answer: it has the marker, other than the prompt has it."""
        return states_answer(step, self.answer_marker, (self.instruction, self.question))


@dataclass(frozen=True, slots=True)
class GenerateInChat(GenerateRequest):
    """A continuation after earlier turns. A class of its own: the digests of other requests stay the same."""

    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What a generate request returned: one step, or with ``to_end`` one or more.

    Steps end with Finish.STEP, EOS or LENGTH; the session marks ANSWER. Every step but the last ends
    with STEP. ``usage`` counts this request alone.
    """

    steps: tuple[Step, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class LoglikRequest:
    """Teacher-forced likelihood of ``steps`` after ``token_ids``; each of ``steps`` is a step's token ids."""

    home: str
    question: str
    instruction: str
    token_ids: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns before the question; a ``LoglikInChat`` has some."""
        return ()


@dataclass(frozen=True, slots=True)
class LoglikInChat(LoglikRequest):
    """A likelihood after earlier turns."""

    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Loglik:
    """Natural-log likelihood of each step at temperature 1."""

    logprobs: tuple[float, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A request for the rewards of ``steps[num_locked:]``; the verifier tokenises the texts itself.

    ``logprobs`` and ``num_tokens`` are the policy's log-probability of each step at temperature 1 (None where
    its engine does not report it) and its length in the policy's tokens. ``seed`` is the run's, for verifiers
    whose ``info`` is ``sampling``; other requests do not have it, nor does their digest.
    """

    home: str
    question: str
    steps: tuple[str, ...]
    num_locked: int
    logprobs: tuple[float | None, ...] = ()
    num_tokens: tuple[int, ...] = ()
    seed: int | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class ScoreReply:
    """One reward a new step (read-out per_step), or a single one for the whole trajectory (whole)."""

    rewards: tuple[Reward, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that could not be completed: ``type`` names the error, ``message`` is for a person.

    Replies are values: one bad request fails itself and no other of its call.
    """

    type: str
    message: str


NO_REPLICA = "NoReplica"
"""The type of a Failure that its request did not cause: no replica is left, and none will start."""


Readout = Literal["per_step", "whole"]
"""What a verifier rewards: each new step, or a whole trajectory with a single number."""

READOUTS: tuple[Readout, ...] = get_args(Readout)

Sampler = Literal["step", "stream"]
"""What the seed of a request means.

With ``step`` it is noise for that request alone, and must not be used twice. With ``stream`` a token depends
on the seed and on what came before it, not on where its request begins: one text may be requested piece by
piece under one seed, and the engine may continue it before the next request.
"""

Method = Literal["generate", "loglik", "score"]
"""The name of a model's method."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The properties of a model: ``sampler`` is an engine's, ``readout`` and ``sampling`` are a verifier's.

    With ``batch_invariant`` a reply is bitwise the same, whatever else is in its batch or its cache. With
    ``sampling`` a verifier draws what it judges by, and is given the run's seed.
    ``special`` are the strings that mark a chat: the tokenizer reads them as one token wherever they stand.
    ``takes_history`` says whether an engine's prompt can hold earlier turns, as a chat template's can.
    ``seeds_honoured`` is what a probe of a server found: whether one seed gives one text. None: not probed.
    """

    batch_invariant: bool = False
    sampler: Sampler = "step"
    readout: Readout = "per_step"
    sampling: bool = False
    takes_history: bool = False
    special: tuple[str, ...] = ()
    seeds_honoured: bool | None = None


class Engine(Protocol):
    """What a search needs of a policy; implementations extend ``EngineBase``."""

    @property
    def info(self) -> ModelInfo: ...

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]: ...

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]: ...

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

    async def release(self, home: str) -> Overhead:
        """Forget a problem that has ended; return the overhead that it has caused since it began, once."""
        return Overhead()


class VerifierBase(ModelBase, ABC):
    r"""Anything that rewards: replies come in the order of the requests; each depends on its request alone.

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


class EngineConfig(Protocol):
    """A configuration that a replica turns into an engine; picklable."""

    @property
    def takes(self) -> type[Params]:
        """The kind of decoding parameters that its requests must carry."""
        ...

    def build(self) -> Any: ...


@runtime_checkable
class HasWeights(Protocol):
    """A configuration of an engine or a verifier whose model consists of files."""

    def digest(self) -> str | None:
        """Return a digest of the model's files: equal digests, equal models. None where they are missing."""
        ...


@runtime_checkable
class MadeForTask(Protocol):
    """A configuration of an engine or a verifier whose model may know one task alone."""

    @property
    def knows_task(self) -> str | None:
        """The module of that task in ``orchestrator.tasks``, such as ``chain``; None: any task."""
        ...


@runtime_checkable
class ServesSamples(Protocol):
    """A configuration of an engine that has whole samples alone, and continues no prefix."""

    @property
    def serves_samples(self) -> bool: ...


@runtime_checkable
class MayLackPrefixes(Protocol):
    """A configuration of an engine that may be unable to continue a text: it makes whole answers alone."""

    @property
    def whole_because(self) -> tuple[str, str] | None:
        """The key and the value because of which it makes whole answers alone; None: it continues texts."""
        ...


class VerifierConfig(Protocol):
    """A configuration that a replica turns into a verifier; picklable."""

    @property
    def readout(self) -> Readout | None:
        """None where there is no verifier."""
        ...

    def build(self) -> Any: ...


class Task(Protocol):
    r"""Where problems come from, how an answer is read, and when two answers are the same.

    Example::

        import asyncio
        from dataclasses import dataclass

        from orchestrator.testing import check_task
        from orchestrator.types import Problem

        @dataclass(frozen=True)
        class DoublingTask:  # numbers to double; an answer is the number after the last #
            delimiter: str = "\n"
            answer_marker: str | None = "#"
            instruction: str = "End with # and the number."
            num_problems: int = 100

            def problems(self, offset, limit):
                end = self.num_problems if limit is None else min(self.num_problems, offset + limit)
                return (Problem(f"double-{i}", f"What is 2 x {i}?", str(2 * i)) for i in range(offset, end))

            def extract(self, text):
                answer = text.rpartition("#")[2].strip() if "#" in text else ""
                return answer if answer.isdecimal() else None

            async def keys(self, answers):
                return [None if answer is None else str(int(answer)) for answer in answers]

            async def grade(self, answer, reference):
                return answer is not None and int(answer) == int(reference)

        asyncio.run(check_task(DoublingTask(), solution=lambda p: f"Two of them.\n#{p.answer}\n"))
    """

    @property
    def delimiter(self) -> str:
        """The text that ends a step, and stays in it."""
        ...

    @property
    def answer_marker(self) -> str | None:
        """A text that every step with the final answer holds; None: only end of text ends a trajectory.

        A step that holds it in an empty box, or as the instruction does, states no answer.
        """
        ...

    @property
    def instruction(self) -> str:
        """The instruction that the policy gets with the question; may be empty."""
        ...

    @property
    def num_problems(self) -> int: ...

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        """Yield problems ``offset .. offset + limit``; a task and a split fix them, whatever the seed."""
        ...

    def extract(self, text: str) -> str | None:
        """Return the final answer of a trajectory's text, or None where it states none."""
        ...

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        """Return one key an answer; equivalent answers have equal keys, None stays None."""
        ...

    async def grade(self, answer: str | None, reference: str) -> bool: ...
