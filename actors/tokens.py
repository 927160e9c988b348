"""Token ids, and why a model cannot be asked to go on from some."""

from __future__ import annotations

from orchestrator.protocols import Failure, GenerateRequest
from orchestrator.types import Sampling

TokenIds = tuple[int, ...]


def refuse_tokens(token_ids: TokenIds, max_length: int, vocab_size: int) -> Failure | None:
    """Why the model cannot read ``token_ids``, or None."""
    if not token_ids:
        return Failure("EngineError", "the prompt is empty")
    if len(token_ids) > max_length:
        return Failure(
            "ContextOverflow", f"{len(token_ids)} tokens; the model's context has room for {max_length}"
        )
    if not 0 <= min(token_ids) <= max(token_ids) < vocab_size:
        return Failure(
            "EngineError", f"token ids {min(token_ids)}..{max(token_ids)}; the vocabulary has {vocab_size}"
        )
    return None


def refuse_request(
    request: GenerateRequest, prefix: TokenIds, max_context: int, vocab_size: int
) -> Failure | None:
    """Why an autoregressive engine cannot continue ``prefix`` as the request asks, or None."""
    params = request.params
    if not isinstance(params, Sampling):
        message = f"an autoregressive engine takes Sampling, not {type(params).__name__}"
        return Failure("EngineError", message)
    if params.max_tokens < 1 or not params.temperature >= 0 or not 0 < params.top_p <= 1:
        return Failure("EngineError", f"{params}: max_tokens >= 1, temperature >= 0, 0 < top_p <= 1")
    if not request.delimiter:
        return Failure("EngineError", "the step delimiter is empty")
    return refuse_tokens(prefix, max_context - 1, vocab_size)
