"""What a chat's reply holds: messages, why each ended, counts, and tokens where the server lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from actors.openai_engine import checks
from orchestrator.errors import EngineError

# What a server's chat template, and what a provider puts before it, may add to the messages.
_EXTRA_PROMPT_TOKENS = 2**16


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token: its bytes, which may be a part of a character, and its log-probability."""

    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Message:
    """One answer. ``reason`` is stop, eos or length; ``tokens`` are None where they do not make its text."""

    text: str
    reason: str
    tokens: tuple[Token, ...] | None


@dataclass(frozen=True, slots=True)
class ChatReply:
    """The answers to one request; the counts are those of all of them."""

    messages: tuple[Message, ...]
    num_generated: int
    num_prompt: int
    num_cached: int

    @classmethod
    def of(
        cls, reply: Mapping[str, Any], n: int, max_tokens: int, num_bytes: int, *, logprobs: bool
    ) -> ChatReply:
        """Check a reply to a request for ``n`` answers to messages of ``num_bytes``. Raises EngineError."""
        usage = checks.usage_of(reply)
        most_prompt = num_bytes + _EXTRA_PROMPT_TOKENS
        messages = tuple(_message(choice, max_tokens, logprobs=logprobs) for choice in _choices(reply, n))
        num_generated = checks.count(usage["completion_tokens"], "usage.completion_tokens", n * max_tokens)
        num_prompt = checks.count(usage.get("prompt_tokens", 0), "usage.prompt_tokens", most_prompt)
        num_cached = min(num_prompt, checks.cached(usage.get("prompt_tokens_details"), most_prompt))
        return cls(messages, num_generated, num_prompt, num_cached)

    def counts(self, max_tokens: int) -> list[int]:
        """Return the number of tokens of each message; they add up to the server's count of all.

        It counts them together: where it lists tokens they are known, else a message's share is that of its
        text. A thought that is not shown is a part of the count.
        """
        are_known = all(m.tokens is not None for m in self.messages)
        sizes = [len(m.tokens if are_known and m.tokens else m.text) for m in self.messages]
        return shares(self.num_generated, sizes, max_tokens)


def shares(total: int, weights: Sequence[float], most: int) -> list[int]:
    """Return whole numbers near ``total`` times each weight's share, that add up to it; none above ``most``.

    Raises ValueError where ``total`` is above ``most`` times their number.
    """
    if total > most * len(weights):
        raise ValueError(f"{total} is above {len(weights)} x {most}")
    left, left_weight, given = total, float(sum(weights)), [0] * len(weights)
    # The heaviest first: what is above the most falls to the lighter ones.
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    for done, i in enumerate(order, start=1):
        rest = len(order) - done
        share = round(left * weights[i] / left_weight) if left_weight else -(-left // (rest + 1))
        given[i] = min(most, max(share, left - rest * most))
        left, left_weight = left - given[i], left_weight - weights[i]
    return given


def _choices(reply: Mapping[str, Any], n: int) -> list[Mapping[str, Any]]:
    """Return the choices in the order of their indices."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or len(choices) != n:
        number = len(choices) if isinstance(choices, list) else 0
        remedy = ": set engine.max_n=1" if n > 1 else ""
        raise EngineError(f"{n} answers were requested, the server returned {number}{remedy}")
    if not all(isinstance(choice, Mapping) for choice in choices):
        raise EngineError("the server's answers are not objects")
    indices = [choice.get("index", i) for i, choice in enumerate(choices)]
    if n == 1 and indices == [None]:
        return choices
    if not all(type(i) is int for i in indices) or sorted(indices) != list(range(n)):
        raise EngineError("the server's answers are not the ones that were requested")
    return sorted(choices, key=lambda choice: int(choice.get("index", 0)))


def _message(choice: Mapping[str, Any], max_tokens: int, *, logprobs: bool) -> Message:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise EngineError("the server's answer holds no message")
    reason, text = checks.reason(choice.get("finish_reason")), checks.text(message.get("content"))
    tokens = _tokens(choice.get("logprobs"), max_tokens) if logprobs else None
    return Message(text, reason, None if tokens is None else _making(text, tokens))


def _tokens(given: Any, most: int) -> list[Token]:
    """Return the listed tokens. Raises EngineError where there are none, or more than were requested."""
    content = given.get("content") if isinstance(given, Mapping) else None
    if not isinstance(content, list) or len(content) > most:
        number = f"{len(content)}" if isinstance(content, list) else "no"
        remedy = "set engine.logprobs=false to do without"
        raise EngineError(f"the server returned {number} log-probabilities: {remedy}")
    return [_token(entry) for entry in content]


def _token(entry: Any) -> Token:
    if not isinstance(entry, Mapping):
        raise EngineError("the server's log-probabilities are not of tokens")
    data, shown = entry.get("bytes"), entry.get("token")
    if isinstance(data, list) and all(type(b) is int and 0 <= b < 256 for b in data):
        return Token(bytes(data), checks.logprob(entry.get("logprob")))
    return Token(checks.text(shown).encode(), checks.logprob(entry.get("logprob")))


def _making(text: str, tokens: Sequence[Token]) -> tuple[Token, ...] | None:
    """Return the tokens if they make the text, and after it no more than the name of an end of text."""
    data, end = text.encode(), 0
    for number, token in enumerate(tokens):
        if end == len(data):
            return tuple(tokens) if number == len(tokens) - 1 else None
        if not data.startswith(token.data, end):
            return None
        end += len(token.data)
    return tuple(tokens) if end == len(data) else None
