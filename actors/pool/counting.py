"""What replies and requests count for: tokens made, tokens read, and work done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.protocols import Completion, GenerateRequest, Loglik, ScoreReply


@dataclass(slots=True)
class Tokens:
    """Of all replies of one replica, over all its lives.

    ``generated`` ones were sampled. Of those that were read (prompts, and steps to reward) ``cached`` were
    found in a prefix cache, and ``computed`` were not.
    """

    generated: int = 0
    cached: int = 0
    computed: int = 0

    def add(self, replies: Iterable[object]) -> None:
        """Counts what the replies say that they took; a Failure says nothing."""
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
    """What a reply adds to its engine's own counter: tokens generated, or read for a likelihood."""
    if isinstance(reply, Completion):
        return reply.usage.generated_tokens
    return reply.usage.prompt_tokens if isinstance(reply, Loglik) else 0


def work_of(reply: object) -> int:
    """What a reply took, in tokens; a row where it took none."""
    return max(1, reply.usage.generated_tokens) if isinstance(reply, Completion) else 1


def most_work(request: object) -> int:
    """What a request may take at the most."""
    return int(request.params.max_tokens) if isinstance(request, GenerateRequest) else 1
