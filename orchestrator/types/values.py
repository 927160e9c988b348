"""The values of a search: problems, prompts, steps, trajectories, usage, solutions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from itertools import chain
from typing import Any, Literal

from orchestrator.types.decoding import Params
from orchestrator.types.records import Record
from orchestrator.types.rewards import Reward


class Finish(Enum):
    """Why a step ended; the value is the message a person reads."""

    STEP = "the step has ended"
    EOS = "the model ended its text"
    ANSWER = "the step states the final answer"
    LENGTH = "the token limit cut the step off"
    PRUNED = "the search gave the text up"


# Read for every row of every call: a member that is looked up on its class costs as much as the test.
_STEP, _LENGTH, _ENDS = Finish.STEP, Finish.LENGTH, (Finish.EOS, Finish.ANSWER)


ENGINE = "engine"
"""The name of the main policy."""

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier message of a conversation: who wrote it, and its text."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its reference answer. The answer never reaches a strategy or an engine.

    ``history`` is what came before the question in a conversation; only the first turn may be the system's.
    """

    id: str
    question: str
    answer: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Turn, ...] = ()

    @property
    def transcript(self) -> str:
        """The question as a verifier sees it: after the earlier turns, where there are any."""
        if not self.history:
            return self.question
        turns = (*self.history, Turn("user", self.question))
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a text answers in place of the task's question: a revision's, a critique's, a judge's.

    None keeps the task's ``instruction``, ``delimiter`` and ``answer_marker``. An empty ``delimiter`` is for
    one text to its end, an empty ``answer_marker`` for a text that states no answer. ``history`` follows the
    problem's own turns. ``role`` is the name under which the calls are counted.
    """

    question: str
    instruction: str | None = None
    history: tuple[Turn, ...] = ()
    delimiter: str | None = None
    answer_marker: str | None = None
    role: str = "solve"


@dataclass(frozen=True, slots=True)
class Carried:
    """Tokens that were generated with a step and begin the next one, with their log-probabilities."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One piece of reasoning, tokenised once and never again.

    ``text`` keeps its delimiter. ``logprob`` is the sum over its tokens of their log-probability under
    the policy at temperature 1 (None where the engine does not report it). ``reward`` is None until scored.
    Where a step ends before a marker, an engine has generated the beginning of the next one already:
    ``carried``, which the next request returns to it. ``policy`` is the name of the engine whose token ids
    these are. ``one_step_nll``, of the last step of a canvas whose ``EstimatedDenoising`` asks for it, is the
    mean of -log p over the canvas's tokens, all of them under the logits of the first pass, where every
    position is masked.
    """

    text: str
    token_ids: tuple[int, ...]
    logprob: float | None = None
    reward: Reward | None = None
    finish: Finish = Finish.STEP
    carried: Carried | None = None
    policy: str = ENGINE
    one_step_nll: float | None = None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A persistent sequence of steps: extending makes a new one, resampling is indexing.

    ``prompt`` is what the steps answer; None: the task's question. Rewards and answers are about the task's
    problem in both cases.
    """

    steps: tuple[Step, ...] = ()
    prompt: Prompt | None = None

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable([step.token_ids for step in self.steps]))

    @property
    def num_tokens(self) -> int:
        return sum([len(step.token_ids) for step in self.steps])

    @property
    def text(self) -> str:
        return "".join([step.text for step in self.steps])

    @property
    def carried(self) -> Carried | None:
        """What an engine has generated of the next step."""
        return self.steps[-1].carried if self.steps else None

    @property
    def reward(self) -> Reward | None:
        """The reward of the last step that has one; None before any is scored."""
        for step in reversed(self.steps):
            if step.reward is not None:
                return step.reward
        return None

    @property
    def rewards(self) -> tuple[Reward, ...]:
        """The rewards locked so far, in step order."""
        return tuple([s.reward for s in self.steps if s.reward is not None])

    @property
    def one_step_nll(self) -> float | None:
        """The estimate of its canvas; None where none was asked for."""
        return self.steps[-1].one_step_nll if self.steps else None

    @property
    def finished(self) -> bool:
        """Whether it ended with end of text or a final answer. A truncated trajectory is not finished."""
        return bool(self.steps) and self.steps[-1].finish in _ENDS

    @property
    def truncated(self) -> bool:
        """Whether a token limit cut it off: it can be neither extended nor finished."""
        return bool(self.steps) and self.steps[-1].finish is _LENGTH

    @property
    def pruned(self) -> bool:
        """Whether the search gave it up: it is neither finished nor extended."""
        return bool(self.steps) and self.steps[-1].finish is Finish.PRUNED

    @property
    def active(self) -> bool:
        """Whether it can be extended."""
        return not self.steps or self.steps[-1].finish is _STEP

    def extend(self, *steps: Step) -> Trajectory:
        """Return this trajectory with more steps. Raises ValueError on one that is not active."""
        if not self.active:
            raise ValueError(f"cannot extend: {self.steps[-1].finish.value}")
        return Trajectory((*self.steps, *steps), self.prompt)

    def with_steps(self, steps: Sequence[Step]) -> Trajectory:
        """Return a trajectory of these steps, which answers the same prompt."""
        return Trajectory(tuple(steps), self.prompt)


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent on accepted replies; additive.

    ``sequential_tokens`` are those on the longest chain of calls that waited for each other: what no number
    of replicas makes shorter. The session counts them (``Session.generate``); a single reply holds none.
    """

    generated_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reward_calls: int = 0
    reward_tokens: int = 0
    cached_reward_tokens: int = 0
    denoising_passes: int = 0
    flops: float = 0.0
    sequential_tokens: int = 0

    def as_rewards(self) -> Usage:
        """Return an engine's usage as that of a verifier that has asked it."""
        return Usage(
            reward_tokens=self.prompt_tokens - self.cached_tokens + self.generated_tokens,
            cached_reward_tokens=self.cached_tokens,
            flops=self.flops,
        )

    def __add__(self, other: Usage) -> Usage:
        # Written out: reflection would cost several times as much.
        return Usage(
            self.generated_tokens + other.generated_tokens,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.reward_calls + other.reward_calls,
            self.reward_tokens + other.reward_tokens,
            self.cached_reward_tokens + other.cached_reward_tokens,
            self.denoising_passes + other.denoising_passes,
            self.flops + other.flops,
            self.sequential_tokens + other.sequential_tokens,
        )


@dataclass(frozen=True, slots=True)
class Overhead:
    """What was spent in addition to accepted replies: tokens of requests that were retried or discarded."""

    retried_tokens: int = 0
    speculated_tokens: int = 0

    def __add__(self, other: Overhead) -> Overhead:
        return Overhead(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Overhead)))


@dataclass(frozen=True, slots=True)
class Solution:
    """What a strategy returns: candidates, which one is the answer's, and how the search went.

    ``log_weights`` are unnormalised natural logarithms, one a trajectory; the strategy's docstring says
    of what. ``answer_index`` is None when there is no candidate at all. ``params`` are what each trajectory
    was decoded with, where a strategy decodes them differently; empty elsewhere.
    """

    answer_index: int | None
    trajectories: tuple[Trajectory, ...]
    log_weights: tuple[float, ...]
    history: tuple[Record, ...] = ()
    usage: Usage = Usage()
    params: tuple[Params, ...] = ()


def total(usages: Sequence[Usage]) -> Usage:
    """Return the sum of several usages, added up from the first to the last."""
    # Column by column: a call's replies are added at once, and reflection would cost the most.
    return Usage(*map(sum, zip(*map(usage_values, usages), strict=True)))


usage_values: Callable[[Usage], tuple[float, ...]] = operator.attrgetter(*(f.name for f in fields(Usage)))
"""All numbers of a usage, in the order of its fields."""
