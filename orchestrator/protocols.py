"""The seams: what an engine, a verifier, a task, a strategy and a tracker are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from orchestrator.stated_answer import states_answer
from orchestrator.types import Overhead, Params, Problem, Reward, Solution, Step, Usage

if TYPE_CHECKING:
    from orchestrator.results import Totals
    from orchestrator.session import Session


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One continuation of one prefix.

    The engine renders ``instruction`` and ``question`` with its own template and appends ``token_ids``
    (the steps so far, exactly as it returned them). It generates one step, or with ``to_end`` goes on
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

    def answered_by(self, step: str) -> bool:
        """Whether a step's text states the final answer: it has the marker, and not as the prompt has it."""
        return states_answer(step, self.answer_marker, (self.instruction, self.question))


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


@dataclass(frozen=True, slots=True)
class Loglik:
    """Natural-log likelihood of each step at temperature 1."""

    logprobs: tuple[float, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Rewards wanted for ``steps[num_locked:]``; the verifier tokenises the texts for itself.

    ``logprobs`` and ``num_tokens`` are the policy's log-probability of each step at temperature 1 (None where
    its engine does not tell) and its length in the policy's tokens.
    """

    home: str
    question: str
    steps: tuple[str, ...]
    num_locked: int
    logprobs: tuple[float | None, ...] = ()
    num_tokens: tuple[int, ...] = ()


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
"""The type of a Failure that is none of its request: nobody is left to answer, and nobody is expected."""


class Engine(Protocol):
    """A policy: replies come in the order of the requests, and each depends on its request alone."""

    @property
    def batch_invariant(self) -> bool:
        """Whether a reply is bitwise the same whatever shares its batch or its cache."""
        ...

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]: ...

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]: ...

    async def close(self) -> None: ...


SAMPLERS = ("step", "stream")
"""What the seed of a request means: noise for that request alone, or for the text that it is a part of."""


@runtime_checkable
class RunsAhead(Protocol):
    """An engine that may go on with texts before it is asked to.

    With the sampler ``stream`` a token depends on the seed and on what came before it, wherever the request
    that it belongs to begins: one text may be asked for piece by piece under one seed. Under ``step`` the
    same seed must not be used twice.
    """

    @property
    def sampler(self) -> str:
        """One of SAMPLERS."""
        ...

    async def release(self, home: str) -> Overhead:
        """Forgets a problem that is over, and returns what it has cost in vain since it began, once."""
        ...


def sampler_of(engine: Engine) -> str:
    """The sampler of any engine; ``step`` where it does not tell."""
    return engine.sampler if isinstance(engine, RunsAhead) else "step"


class Verifier(Protocol):
    """Anything that rewards. ``readout`` is ``per_step``, or ``whole``: one number for the whole text."""

    @property
    def batch_invariant(self) -> bool: ...

    @property
    def readout(self) -> str: ...

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]: ...

    async def close(self) -> None: ...


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
        """Of the model's files: equal digests, equal models. None where they are not here."""
        ...


@runtime_checkable
class MadeForTask(Protocol):
    """A configuration of an engine or a verifier whose model may know one task alone."""

    @property
    def knows_task(self) -> str | None:
        """The module of that task in ``orchestrator.tasks``, such as ``chain``; None: it knows any."""
        ...


class VerifierConfig(Protocol):
    """A configuration that a replica turns into a verifier; picklable."""

    @property
    def readout(self) -> str | None:
        """``per_step`` or ``whole``; None where there is no verifier."""
        ...

    def build(self) -> Any: ...


class Task(Protocol):
    """Where problems come from, how an answer is read, and when two answers are the same."""

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
        """What the policy is told beside the question; may be empty."""
        ...

    @property
    def num_problems(self) -> int: ...

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        """Problems ``offset .. offset + limit``; the same for the same task and split, whatever the seed."""
        ...

    def extract(self, text: str) -> str | None:
        """The final answer of a trajectory's text, or None where it states none."""
        ...

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        """One key an answer; equivalent answers have equal keys, None stays None."""
        ...

    async def grade(self, answer: str | None, reference: str) -> bool: ...


@runtime_checkable
class Strategy(Protocol):
    """A search method: a frozen dataclass of knobs with one coroutine."""

    @property
    def readouts(self) -> tuple[str, ...]:
        """The verifier read-outs it can work with; empty where it needs no verifier."""
        ...

    async def solve(self, session: Session) -> Solution: ...


@runtime_checkable
class Budgeted(Protocol):
    """A strategy that says how ``budget=N`` is read, as the shipped ones do."""

    budget_knob: ClassVar[str | None]
    """The knob that is N; None where the budget is not read."""

    independent_samples: ClassVar[bool]
    """Whether the candidates are independent samples: the first n of N are those of a run with N = n."""


class Tracker(Protocol):
    """Where a run's figures go while it runs. One that raises is left alone from then on."""

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        """``totals`` are the run's figures so far: each line is in them before ``problem`` is told of it."""
        ...

    def problem(self, line: Mapping[str, Any]) -> None:
        """One finished problem, as the line that results.jsonl got."""
        ...

    def finish(self, summary: Mapping[str, Any]) -> None: ...
