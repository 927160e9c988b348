"""What replies and requests count for: tokens made, tokens read, and work done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.protocols import Completion, GenerateRequest, Loglik, ScoreReply


@dataclass(slots=True)
class Tokens:
    """The tokens of all replies of one replica, over all its lives.

    ``generated`` ones were sampled. Of those that were read (prompts, and steps to reward) ``cached`` were
    found in a prefix cache, and ``computed`` were not.
    """

    generated: int = 0
    cached: int = 0
    computed: int = 0

    def add(self, replies: Iterable[object]) -> None:
        """Add the usage of the replies; a Failure has none."""
        for reply in replies:
            if isinstance(reply, Completion | Loglik):
                usage = reply.usage
                self.generated += usage.generated_tokens
                self.cached += usage.cached_tokens
                self.computed += usage.prompt_tokens - usage.cached_tokens
            elif isinstance(reply, ScoreReply):
                self.cached += reply.usage.cached_reward_tokens
                self.computed += reply.usage.reward_tokens


def num_tokens(reply: object) -> int:
    """Return what a reply adds to its engine's counter: tokens generated, or read for a likelihood."""
    if isinstance(reply, Completion):
        return reply.usage.generated_tokens
    return reply.usage.prompt_tokens if isinstance(reply, Loglik) else 0


def work_of(reply: object) -> int:
    """Return the work in a reply: its generated tokens, and at least 1."""
    return max(1, reply.usage.generated_tokens) if isinstance(reply, Completion) else 1


def most_work(request: object) -> int:
    """Return the most work that a request may take."""
    return int(request.params.max_tokens) if isinstance(request, GenerateRequest) else 1
