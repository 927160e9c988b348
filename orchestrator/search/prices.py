"""What a policy's tokens cost, and what the calls of one problem may cost at most before they are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Annotated

from annotated_types import Ge

from orchestrator.protocols import Completion, GenerateRequest, Task
from orchestrator.schema import checked
from orchestrator.search.requests import conversation
from orchestrator.types import Problem, Prompt, Step, Trajectory, Usage

_UNIT = 1e6
_Money = Annotated[float, Ge(0)]


@dataclass(frozen=True, slots=True)
@checked("price")
class Price:
    """What a million tokens of a policy cost, in any currency; the same one for all policies."""

    generated: _Money = 0.0
    """Tokens that it generates."""
    prompt: _Money = 0.0
    """Tokens that it reads, without those that were in its prefix cache."""
    cached: Annotated[float | None, Ge(0)] = None
    """Tokens from its prefix cache; null: as ``prompt``."""

    def cost(self, usage: Usage) -> float:
        """Return what a usage costs."""
        cached = self.prompt if self.cached is None else self.cached
        read = usage.prompt_tokens - usage.cached_tokens
        whole = self.generated * usage.generated_tokens + self.prompt * read + cached * usage.cached_tokens
        return whole / _UNIT

    @property
    def per_token(self) -> float:
        """The cost of one generated token."""
        return self.generated / _UNIT

    def most_to_read(self, num_tokens: int) -> float:
        """Return the most that reading so many tokens may cost, whatever is cached."""
        return max(self.prompt, self.cached or 0.0) * num_tokens / _UNIT


@dataclass(frozen=True, slots=True)
class Bill:
    """What the rows of a call may cost: each for reading its prompt, and for each token that it generates."""

    per_token: float = 0.0
    prompts: Sequence[float] | repeat[float] = field(default_factory=lambda: repeat(0.0))


FREE = Bill()
_PromptKey = tuple[str, Prompt | None]


@dataclass(eq=False)
class Billing:
    """The bills of one problem, by policy.

    How many tokens a prompt has is known once the policy has replied to it. Before, a token is reckoned for
    each byte of its question, instruction and turns; what a template adds to them is not.
    """

    problem: Problem
    task: Task
    prices: Mapping[str, Price]
    _known: dict[_PromptKey, int] = field(default_factory=dict, init=False)

    def of(self, policy: str, trajectories: Sequence[Trajectory]) -> Bill:
        """Return the bill of a call that continues these."""
        price = self.prices.get(policy)
        if price is None:
            return FREE
        reads = [price.most_to_read(self._num_read(policy, t)) for t in trajectories]
        return Bill(price.per_token, reads)

    def of_reading(self, policy: str, prefix: Trajectory, steps: Sequence[Step]) -> float:
        """Return the most that reading steps after a prefix may cost."""
        price = self.prices.get(policy)
        num = sum(len(step.token_ids) for step in steps)
        return 0.0 if price is None else price.most_to_read(self._num_read(policy, prefix) + num)

    def learn(
        self,
        policy: str,
        prompts: Sequence[Prompt | None],
        requests: Sequence[GenerateRequest],
        replies: Sequence[Completion],
    ) -> None:
        """Learn from replies how many tokens their prompts have."""
        if policy not in self.prices:
            return
        for prompt, request, reply in zip(prompts, requests, replies, strict=True):
            found = reply.usage.prompt_tokens - len(request.token_ids)
            self._known[policy, prompt] = max(found, self._known.get((policy, prompt), 0))

    def _num_read(self, policy: str, trajectory: Trajectory) -> int:
        known = self._known.get((policy, trajectory.prompt))
        if known is None:
            question, instruction, turns = conversation(self.problem, self.task, trajectory.prompt)
            known = sum(len(text.encode(errors="replace")) for text in (question, instruction))
            known += sum(len(turn.text.encode(errors="replace")) for turn in turns)
        return known + trajectory.num_tokens
