"""The lines of a journal: a call, the digest of its requests, and replies that read back exactly."""

from __future__ import annotations

import hashlib
import json
import math
import operator
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from orchestrator.protocols import Completion, Loglik, ScoreReply
from orchestrator.types import Finish, Reward, Step, Usage

Reply = Completion | ScoreReply | Loglik


@dataclass(frozen=True, slots=True)
class Record:
    """One answered call. ``replies`` is None where the time limit cancelled it.

    ``elapsed`` is the problem's clock in seconds when the reply came. The search's calls and decisions are
    numbered from 1: ``asked`` is the call's own number, ``answered`` the last one when its reply came.
    """

    call: str
    digest: str
    elapsed: float
    asked: int
    answered: int
    replies: tuple[Reply, ...] | None


def digest_of(requests: Sequence[Any]) -> str:
    """128 bits over every field of every request: equal for equal requests, in any process or release."""
    digest = hashlib.blake2b(digest_size=16)
    for request in requests:
        cls: Any = type(request)
        values = dict(zip(_names(cls), _values(cls)(request), strict=True))
        token_ids: Any = values.pop("token_ids", ())  # most of what there is to read: as numbers
        digest.update(_ENCODER.encode(values).encode())
        digest.update(array("q", token_ids).tobytes() + b"\n")
    return digest.hexdigest()


@cache
def _names(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls))


@cache
def _values(cls: Any) -> Callable[[object], Sequence[object]]:
    """Reads all fields of a dataclass at once, in their order."""
    return operator.attrgetter(*_names(cls))


def _encode(value: Any) -> object:
    """A nested dataclass by its name and fields; an integer of another library as an integer."""
    if is_dataclass(value):
        cls: Any = type(value)
        return [cls.__name__, *_values(cls)(value)]
    return operator.index(value)


# Made once: json.dumps makes one for every call that sets an option.
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_encode)


def write_record(record: Record) -> bytes:
    """One line of strict JSON. An infinity and NaN, which JSON has not, are strings."""
    line = {
        "call": record.call,
        "request": record.digest,
        "elapsed": round(record.elapsed, 6),
        "asked": record.asked,
        "answered": record.answered,
        "replies": None if record.replies is None else [_plain(r) for r in record.replies],
    }
    return _ENCODER.encode(line).encode() + b"\n"


def read_record(line: bytes) -> Record:
    """The record of one line. Raises ValueError, KeyError or TypeError where it is none."""
    value = json.loads(line)
    replies = value["replies"]
    return Record(
        call=value["call"],
        digest=value["request"],
        elapsed=float(value["elapsed"]),
        asked=int(value["asked"]),
        answered=int(value["answered"]),
        replies=None if replies is None else tuple(_reply(r) for r in replies),
    )


def _plain(reply: Reply) -> dict[str, Any]:
    usage = {name: value for name in _USAGE if (value := getattr(reply.usage, name))}
    if isinstance(reply, Completion):
        return {"steps": [_plain_step(s) for s in reply.steps], "usage": usage}
    if isinstance(reply, ScoreReply):
        return {"rewards": [_number(r.log_odds) for r in reply.rewards], "usage": usage}
    return {"logprobs": [_number(x) for x in reply.logprobs], "usage": usage}


def _reply(plain: Mapping[str, Any]) -> Reply:
    usage = Usage(**plain["usage"])
    if "steps" in plain:
        return Completion(tuple(_step(s) for s in plain["steps"]), usage)
    if "rewards" in plain:
        return ScoreReply(tuple(Reward(float(x)) for x in plain["rewards"]), usage)
    return Loglik(tuple(float(x) for x in plain["logprobs"]), usage)


_USAGE = tuple(f.name for f in fields(Usage))


def _plain_step(step: Step) -> list[Any]:
    """``[text, token_ids, logprob, finish]``: an engine gives no reward, and the session sets it anew."""
    return [step.text, step.token_ids, _number(step.logprob), step.finish.name]


def _step(plain: Sequence[Any]) -> Step:
    text, token_ids, logprob, finish = plain
    return Step(text, tuple(token_ids), None if logprob is None else float(logprob), None, Finish[finish])


def _number(x: float | None) -> float | str | None:
    return x if x is None else float(x) if math.isfinite(x) else str(float(x))
