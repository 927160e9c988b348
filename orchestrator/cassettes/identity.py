"""Whose replies a tape holds: what decides a model's replies, and what changes its speed alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What of a model's node changes its speed, or how a server is reached, and no reply.
_SPEED = {
    "api_key_env", "cache_bytes", "calibration", "lookahead", "max_attempts", "max_batch_size",
    "max_concurrent", "max_n", "max_wait_s", "price", "probe", "request_timeout_s", "requests_per_second",
}  # fmt: skip
_BY_DIGEST = {"lora", "model", "revision"}  # a tokenizer of its own is not among the files of the model


def identity(node: Mapping[str, Any], digest: str | None) -> Mapping[str, Any]:
    """Return what decides a model's replies: the digest of its files, or its name, and how it is set."""
    skipped = _SPEED | (_BY_DIGEST if digest else set())
    kept = {k: v for k, v in node.items() if k not in skipped and v is not None}
    return {"digest": digest, "node": kept}
