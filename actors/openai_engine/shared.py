"""What both interfaces of a server share: rows that fail alone, and texts that must not be stored."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from actors.messages import brief
from actors.openai_engine.client import Client
from actors.openai_engine.replies import Refused
from orchestrator.errors import ConfigError, EngineError
from orchestrator.protocols import OVERFLOW, Completion, Failure

Result = TypeVar("Result")
OUTSIDERS_FAULTS = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)
"""What reading a value of an unexpected shape raises."""

# As OpenAI's server, vLLM and llama.cpp say that a prompt and its answer do not fit.
_TOO_LONG = re.compile(r"(?i)context_length_exceeded|maximum context length|available context size")


async def guarded(work: Coroutine[Any, Any, Result | Failure]) -> Result | Failure:
    """Return a Failure where the server refuses a request or keeps failing: it fails alone."""
    try:
        return await work
    except Refused as error:
        return Failure(failure_type(error, "EngineError"), str(error))
    except EngineError as error:
        return Failure("EngineError", str(error))
    except OUTSIDERS_FAULTS as error:
        kind = type(error).__name__  # its message may hold the server's words
        return Failure("EngineError", f"the server's reply is malformed ({kind})")


def failure_type(error: Exception, otherwise: str) -> str:
    """Return ``OVERFLOW`` where a server says that a text has no room in its context."""
    return OVERFLOW if isinstance(error, Refused) and _TOO_LONG.search(str(error)) else otherwise


def without_key(client: Client, reply: Completion | Failure, before: str = "") -> Completion | Failure:
    """Return the reply to a row without the key that the server was sent: replies are stored.

    ``before`` is the end of the text that the reply continues.
    """
    if not client.has_key:
        return reply
    if isinstance(reply, Failure):
        return replace(reply, message=client.clean(reply.message))
    if client.repeats_key(before + "".join(step.text for step in reply.steps)):
        return Failure("EngineError", "the text repeats the key that the server was sent: not stored")
    return reply


def load_tokenizer(name: str, key: str = "engine.tokenizer") -> Any:
    """Return the tokenizer in a folder or on the hub. Raises ConfigError with ``key``."""
    import transformers

    from actors.checkpoints.models import resolve_model

    try:
        return transformers.AutoTokenizer.from_pretrained(resolve_model(name))
    except Exception as error:  # anything that files from elsewhere make the libraries raise
        allowed = f"must name the tokenizer of the model that is served: {brief(error)}"
        raise ConfigError(key, name, allowed) from error
