"""Checks of a server's rewards before anything depends on them: numbers, lengths, counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from actors.openai_engine import checks
from actors.openai_engine.redaction import one_line
from orchestrator.errors import VerifierError

_TOKEN_ID = "token_id:"
_MOST_TOKENS = 2**31


def data_of(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the only entry of ``data``. Raises VerifierError."""
    data = reply.get("data")
    if not isinstance(data, list) or len(data) != 1 or not isinstance(data[0], Mapping):
        found = len(data) if isinstance(data, list) else 0
        raise VerifierError(f"1 text was sent, the server returned {found} results")
    return data[0]


def rows_of(reply: Mapping[str, Any], num_tokens: int, num_labels: int | None) -> list[list[float]]:
    """Return the outputs ``[rows, labels]`` of the last tokens; ``num_labels`` None: any number.

    There may be fewer rows than ``num_tokens``: what was in the server's cache has none.

    Raises VerifierError.
    """
    rows = data_of(reply).get("data")
    if not isinstance(rows, list) or not 1 <= len(rows) <= num_tokens:
        found = f"{len(rows)}" if isinstance(rows, list) else "no"
        raise VerifierError(
            f"{num_tokens} tokens got {found} rows of outputs: is it served for token_classify?"
        )
    return [numbers(row, "outputs", num_labels) for row in rows]


def numbers(values: Any, name: str, length: int | None) -> list[float]:
    """Return finite numbers; ``length`` None: one or more. Raises VerifierError."""
    if not isinstance(values, list) or len(values) != (len(values) or 1 if length is None else length):
        found = f"{len(values)}" if isinstance(values, list) else "no"
        expected = "" if length is None else f": must be {length}"
        raise VerifierError(f"the server returned {found} {name}{expected}")
    return [number(value, name) for value in values]


def number(value: Any, name: str) -> float:
    """Return a finite number. Raises VerifierError."""
    if type(value) not in (int, float) or not -1e300 < value < 1e300:
        raise VerifierError(f"the server's {name} are not finite numbers: {one_line(repr(value)[:200], 60)}")
    return float(value)


def verdict_logprobs(reply: Mapping[str, Any], tokens: Sequence[int]) -> dict[int, float]:
    """Return the log-probability of each of ``tokens`` as the next one. Raises VerifierError."""
    choices = reply.get("choices")
    choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
    given = choice.get("logprobs") if isinstance(choice, Mapping) else None
    listed = given.get("top_logprobs") if isinstance(given, Mapping) else None
    first = listed[0] if isinstance(listed, list) and len(listed) == 1 else None
    if not isinstance(first, Mapping):
        raise VerifierError("the server returned no log-probabilities of the next token (logprob_token_ids)")
    missing = [t for t in tokens if f"{_TOKEN_ID}{t}" not in first]
    if missing:
        raise VerifierError(f"the server's log-probabilities lack the tokens {missing} (logprob_token_ids)")
    found = {t: number(first[f"{_TOKEN_ID}{t}"], "log-probabilities") for t in tokens}
    if max(found.values()) > 1e-3 or math.isinf(min(found.values())):
        raise VerifierError("the server's log-probabilities are above 0")
    return found


def read_of(reply: Mapping[str, Any], most: int) -> tuple[int, int]:
    """Return how many tokens the server has computed, and how many were in its cache; 0 where it says none.

    Raises EngineError.
    """
    usage = reply.get("usage")
    if not isinstance(usage, Mapping):
        return 0, 0
    read = checks.count(usage.get("prompt_tokens") or 0, "usage.prompt_tokens", most)
    num_cached = min(read, checks.cached(usage.get("prompt_tokens_details"), most))
    return read - num_cached, num_cached


def counted(reply: Mapping[str, Any]) -> tuple[int, int]:
    """Return ``usage`` of the form ``json``: the tokens computed, and cached. Raises EngineError."""
    usage = reply.get("usage")
    if not isinstance(usage, Mapping):
        return 0, 0
    names = ("reward_tokens", "cached_reward_tokens")
    computed, cached = (checks.count(usage.get(n, 0), f"usage.{n}", _MOST_TOKENS) for n in names)
    return computed, cached
