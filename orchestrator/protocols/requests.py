"""The requests that reach a model, and the replies to them; a failure is a reply too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from msgspec import UNSET, UnsetType

from orchestrator.stated.answer import states_answer, states_whole_answer
from orchestrator.steps.rule import StepEnds, StepRule
from orchestrator.types import Carried, Params, Reward, Step, Turn, Usage

LOOK_BACK = 1000
"""How many characters before a step may hold the beginning of the answer that it states."""

NOTHING_CARRIED = Carried((), ())


@dataclass(frozen=True, slots=True)
class OfProblem:
    """What a search requests for its problem.

    ``home`` is for routing, caches and their release alone. ``problem`` is the problem's id where that is not
    the home, as where searches of one problem share an engine: seeds and look-ups take ``problem_id``. Other
    requests do not have it, nor does their digest.
    """

    home: str
    problem: str | UnsetType = field(default=UNSET, kw_only=True)

    @property
    def problem_id(self) -> str:
        """The id of the problem."""
        return self.home if isinstance(self.problem, UnsetType) else self.problem

    def at(self, home: str) -> Self:
        """Return the request with another home, for the same problem."""
        return replace(self, home=home, problem=self.problem_id)


@dataclass(frozen=True, slots=True)
class GenerateRequest(OfProblem):
    """One continuation of one prefix.

    The engine renders ``instruction`` and ``question`` with its own template and appends ``token_ids``
    (the steps so far, exactly as it returned them). It generates one step, or with ``to_end`` continues
    to the end of the text or of the first step that the request is ``answered_by``. The reply depends on
    nothing but the request, without its ``home``.

    ``step`` says how a step ends where the ``delimiter`` alone does not say it, and ``carried`` is what the
    last step's reply has generated of this one: it counts among the first ``max_tokens`` tokens and opens the
    reply's first step. ``before`` is the end of the steps' text so far, ``LOOK_BACK`` characters of it.
    With ``quotes`` the question is a prompt that quotes answers of models: to repeat one is to state it.
    ``room`` is how many tokens must be free after the prompt, where the search has a shorter prompt to offer:
    the reply is otherwise the Failure ``OVERFLOW``. Other requests have none of them, nor does their digest.
    """

    question: str
    instruction: str
    token_ids: tuple[int, ...]
    params: Params
    seed: int
    delimiter: str
    answer_marker: str | None
    to_end: bool = False
    step: StepRule | UnsetType = UNSET
    carried: Carried | UnsetType = UNSET
    before: str | UnsetType = UNSET
    quotes: bool | UnsetType = UNSET
    room: int | UnsetType = UNSET

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns before the question; a ``GenerateInChat`` has some."""
        return ()

    @property
    def least_room(self) -> int:
        """How many tokens must be free after the prompt."""
        return 1 if isinstance(self.room, UnsetType) else self.room

    @property
    def ends(self) -> StepEnds:
        """What ends a step."""
        return (
            StepEnds(self.delimiter) if isinstance(self.step, UnsetType) else self.step.ends(self.delimiter)
        )

    @property
    def begun(self) -> Carried:
        """The tokens of the step that were generated before; empty where there are none."""
        return NOTHING_CARRIED if isinstance(self.carried, UnsetType) else self.carried

    def answered_by(self, step: str, after: str = "") -> bool:
        """Return whether a step states the final answer: it has the marker, other than the prompt has it.

        ``after`` is the text of the steps before it in the same reply. It matters where steps do not end at
        the delimiter alone: an answer may then be in two steps, and counts once nothing can be added to it.
        """
        prompts = (self.instruction, *(() if self.quotes is True else (self.question,)))
        if isinstance(self.step, UnsetType) or self.step.mode == "delimiter":
            return states_answer(step, self.answer_marker, prompts)
        if self.step.mode == "hybrid" and self.delimiter in step:
            step += "\n"  # the delimiter has ended what was stated, whatever it is
        before = after if isinstance(self.before, UnsetType) else self.before + after
        return states_whole_answer(before[-LOOK_BACK:] + step, self.answer_marker, prompts)


@dataclass(frozen=True, slots=True)
class GenerateInChat(GenerateRequest):
    """A continuation after earlier turns. A class of its own: the digests of other requests stay the same."""

    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What a generate request returned: one step, or with ``to_end`` one or more.

    Steps end with Finish.STEP, EOS or LENGTH; the session marks ANSWER. Every step but the last ends
    with STEP. What was generated beyond the last step is its ``carried``. ``usage`` counts this request
    alone: not what was carried into it, but what it carries on.
    """

    steps: tuple[Step, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class LoglikRequest(OfProblem):
    """Teacher-forced likelihood of ``steps`` after ``token_ids``; each of ``steps`` is a step's token ids."""

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
class OptionsRequest(LoglikInChat):
    """A question on a prefix: the likelihood of each of ``options`` as the one token that answers ``asked``.

    ``asked`` is a turn of the user after what the policy has written so far (``token_ids``), or in plain text
    what follows it. There are no ``steps``; the reply has one likelihood an option.
    """

    asked: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loglik:
    """Natural-log likelihood of each step, or of each option, at temperature 1."""

    logprobs: tuple[float, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class PolicyPrefix:
    """What a policy has read and written: the task's question as its engine is given it, and ids by step."""

    question: str
    instruction: str
    history: tuple[Turn, ...]
    steps: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ScoreRequest(OfProblem):
    """A request for the rewards of ``steps[num_locked:]``; the verifier tokenises the texts itself.

    ``logprobs`` and ``num_tokens`` are the policy's log-probability of each step at temperature 1 (None where
    its engine does not report it) and its length in the policy's tokens. ``seed`` is the run's, for verifiers
    whose ``info`` is ``sampling``, and ``prefix`` for those whose ``info`` names a policy that it ``reads``;
    other requests do not have them, nor does their digest.

    A verifier whose ``info`` says ``lists_constraints`` receives one request a problem without any steps: its
    reply has no reward, and as its reasons the list, which later requests carry as their ``constraints``.
    """

    question: str
    steps: tuple[str, ...]
    num_locked: int
    logprobs: tuple[float | None, ...] = ()
    num_tokens: tuple[int, ...] = ()
    seed: int | UnsetType = UNSET
    constraints: str | UnsetType = UNSET
    prefix: PolicyPrefix | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Reasons:
    """What a verifier says of a reward; ``parsed`` is whether the reward was read from this text."""

    text: str
    parsed: bool = True


@dataclass(frozen=True, slots=True)
class ScoreReply:
    """One reward a new step (read-out per_step), or a single one for the whole trajectory (whole).

    ``reasons`` are what a verifier that gives reasons says, one a reward.
    """

    rewards: tuple[Reward, ...]
    usage: Usage
    reasons: tuple[Reasons, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that could not be completed: ``type`` names the error, ``message`` is for a person.

    Replies are values: one bad request fails itself and no other of its call.
    """

    type: str
    message: str


OVERFLOW = "ContextOverflow"
"""The type of a Failure of a prompt that the model's context has no room for."""

NO_REPLICA = "NoReplica"
"""The type of a Failure that its request did not cause: no replica is left, and none will start."""
