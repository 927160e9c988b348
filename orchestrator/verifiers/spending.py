"""What a verifier that asks an engine has spent."""

from __future__ import annotations

from orchestrator.types import Usage


def reward_usage(usage: Usage) -> Usage:
    """Return an engine's usage as that of a verifier."""
    return Usage(
        reward_tokens=usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens,
        cached_reward_tokens=usage.cached_tokens,
        flops=usage.flops,
    )
