"""Checks of a server's completion before anything depends on it: counts, ids, texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.openai_engine.redaction import one_line
from orchestrator.errors import EngineError

# Where servers say which stop text or token ended a completion: vLLM, SGLang, llama.cpp, some gateways.
STOP_KEYS = ("stop_reason", "matched_stop", "stopping_word", "stop_sequence")
# What some write there instead: that it was a stop, but not which.
_NO_NAMES = frozenset({"stop", "stop_sequence", "stop_str", "stop_string", "stop_word", "word"})
# A log-softmax may round to a little above 0.
_HIGHEST_LOGPROB = 1e-3
_LARGEST = 1e300  # a whole number in JSON may be larger than any float
# What a server may add around a prompt.
_EXTRA_PROMPT_TOKENS = 1024
_STOPPED = {"stop": "stop", "eos": "eos", "eos_token": "eos", "end_turn": "eos", "stop_sequence": "stop"}
_REASONS = {**_STOPPED, "length": "length", "max_tokens": "length"}
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion. ``reason`` is stop, eos or length; ``stops`` are what the server names as its stop.

    ``stops`` None: it names none, which is not the same as naming nothing (``(None,)``).
    """

    choice: Mapping[str, Any]
    text: str
    reason: str
    stops: tuple[int | str | None, ...] | None
    num_generated: int
    num_prompt: int
    num_cached: int

    @classmethod
    def of(cls, reply: Mapping[str, Any], max_tokens: int, prompt_size: int) -> Reply:
        """Check a reply; ``prompt_size`` is in bytes or tokens. Raises EngineError."""
        usage = usage_of(reply)
        choice = _choice(reply)
        most_prompt = prompt_size + _EXTRA_PROMPT_TOKENS
        num_prompt = count(usage.get("prompt_tokens", 0), "usage.prompt_tokens", most_prompt)
        return cls(
            choice=choice,
            text=text(choice.get("text")),
            reason=reason(choice.get("finish_reason")),
            stops=_stops(choice),
            num_generated=count(usage["completion_tokens"], "usage.completion_tokens", max_tokens),
            num_prompt=num_prompt,
            num_cached=cached(usage.get("prompt_tokens_details"), most_prompt),
        )

    def token_ids(self, max_tokens: int, vocab_size: int) -> list[int]:
        """Return the generated tokens. Raises EngineError."""
        ids = self.choice.get("token_ids")
        if ids is None:
            raise EngineError("the server returned no token_ids: set engine.prompts=text")
        if not isinstance(ids, list) or len(ids) > max_tokens:
            raise EngineError(
                f"the server's token_ids are {_brief(ids)}: at most {max_tokens} were requested"
            )
        return [count(i, "token id", vocab_size - 1) for i in ids]

    def logprobs(self, num_tokens: int | None) -> list[float]:
        """Return that of each generated token; ``num_tokens`` None: any number. Raises EngineError."""
        given = self.choice.get("logprobs")
        values = given.get("token_logprobs") if isinstance(given, Mapping) else None
        if not isinstance(values, list) or (num_tokens is not None and len(values) != num_tokens):
            number = f"{len(values)}" if isinstance(values, list) else "no"
            message = (
                f"the server returned {number} log-probabilities: set engine.logprobs=false to do without"
            )
            raise EngineError(message)
        return [logprob(v) for v in values]

    def stop_among(self, asked: Sequence[int | str]) -> bool | None:
        """Return whether one of ``asked`` ended the completion; None: the server does not say."""
        if self.reason == "eos":
            return False
        if self.stops is None:
            return None
        known = {(type(s), s) for s in asked} | {(str, str(s)) for s in asked}
        return any((type(s), s) in known for s in self.stops)


def usage_of(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a reply says that it cost. Raises EngineError."""
    usage = reply.get("usage")
    if not isinstance(usage, Mapping) or "completion_tokens" not in usage:
        raise EngineError("the server's reply holds no usage")
    return usage


def count(value: Any, name: str, most: int) -> int:
    """Return a whole number from 0 to ``most``. Raises EngineError."""
    if type(value) is int and 0 <= value <= most:
        return value
    raise EngineError(f"the server's {name} is {_brief(value)}: must be a whole number from 0 to {most}")


def logprob(value: Any) -> float:
    """Return a log-probability. Raises EngineError."""
    if type(value) not in (int, float) or not -_LARGEST < value < _LARGEST:
        raise EngineError(f"the server's log-probabilities are not finite numbers: {_brief(value)}")
    if value > _HIGHEST_LOGPROB:
        raise EngineError(f"the server's log-probabilities are above 0: {_brief(value)}")
    return float(value)


def prompt_logprobs(choice: Mapping[str, Any], token_ids: Sequence[int], first: int) -> list[float]:
    """Return those of the prompt's tokens from ``first`` on. Raises EngineError."""
    given = choice.get("prompt_logprobs")
    if not isinstance(given, list) or len(given) != len(token_ids):
        number = f"{len(given)}" if isinstance(given, list) else "none"
        message = f"{len(token_ids)} tokens of a prompt got {number} of the requested log-probabilities"
        raise EngineError(f"{message} (prompt_logprobs): the server must offer them, as vLLM's does")
    return [_of_token(entry, token) for entry, token in zip(given[first:], token_ids[first:], strict=True)]


def _of_token(entry: Any, token: int) -> float:
    found = entry.get(str(token)) if isinstance(entry, Mapping) else None
    if not isinstance(found, Mapping):
        raise EngineError(f"the server's prompt_logprobs lack token {token}")
    return logprob(found.get("logprob"))


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        number = len(choices) if isinstance(choices, list) else 0
        raise EngineError(f"1 completion was requested, the server returned {number}")
    choice = choices[0]
    if not isinstance(choice, Mapping) or choice.get("index") not in (None, 0):
        raise EngineError(f"the server's completion is not the one that was requested: {_brief(choice)}")
    return choice


def text(value: Any) -> str:
    """Return a text; null is an empty one.

    Raises EngineError for what is not text, or could not be written to a file.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EngineError(f"the server's text is {_brief(value)}: must be a text")
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise EngineError("the server's text holds half a character (a lone surrogate)")
    return value


def reason(value: Any) -> str:
    """Return why a text ended: stop, eos or length. Raises EngineError."""
    if not isinstance(value, str) or value.lower() not in _REASONS:
        shown = one_line(value) if isinstance(value, str) else _brief(value)
        raise EngineError(f"the server ended the request: {shown}")
    return _REASONS[value.lower()]


def _stops(choice: Mapping[str, Any]) -> tuple[int | str | None, ...] | None:
    """Return what a server names; an empty name is None."""
    given = [choice[key] for key in STOP_KEYS if key in choice]
    for value in given:
        if value is not None and type(value) not in (int, str):
            raise EngineError(f"the server's stop_reason is {_brief(value)}: must be a text or a token id")
    named = (v for v in given if not (isinstance(v, str) and v.lower() in _NO_NAMES))
    return tuple(None if v == "" else v for v in named) or None


def cached(details: Any, most: int) -> int:
    """Return that of the prompt, where the server reports it (vLLM: --enable-prompt-tokens-details)."""
    if not isinstance(details, Mapping) or details.get("cached_tokens") is None:
        return 0
    return count(details["cached_tokens"], "usage.prompt_tokens_details.cached_tokens", most)


def _brief(value: Any) -> str:
    """Shorten a value for an error message."""
    if isinstance(value, list):
        return f"{len(value)} values"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    return one_line(repr(value), _SHOWN)
