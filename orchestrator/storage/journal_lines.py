"""The lines of a journal: a call, the digest of its requests, and replies that read back exactly.

Each line ends with a checksum over itself and the checksum of the line before it: a line that was changed or
moved is noticed.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypedDict

import msgspec

from orchestrator.protocols import Completion, Loglik, Reasons, ScoreReply
from orchestrator.types import (
    ENGINE,
    Carried,
    Denoising,
    Finish,
    Reward,
    RoundRecord,
    Step,
    Usage,
    usage_values,
)

Reply = Completion | ScoreReply | Loglik | RoundRecord
"""What a model replied to one request, or what an allocator replied to a bid."""

FORMAT = 3
"""The format that a line names; a line that names another one, or none, was not written by this release."""

_CHECKSUM = b',"crc32":"'
_TAIL = len(_CHECKSUM) + len(b'01234567"}\n')


@dataclass(frozen=True, slots=True)
class Record:
    """One answered call, or one answered bid. ``replies`` is None where the time limit cancelled it.

    ``elapsed`` is the problem's clock in seconds when the reply came. The search's calls and decisions are
    numbered from 1: ``asked`` is the call's number, ``answered`` the last one when its reply came.
    """

    call: str
    digest: str
    elapsed: float
    asked: int
    answered: int
    replies: tuple[Reply, ...] | None


def digest_of(requests: Sequence[Any], policy: str = ENGINE) -> str:
    """Return 128 bits over every field of every request: equal for equal requests, in any process or release.

    They are taken from the requests as MessagePack, where a dataclass is a map of its fields. ``policy`` is
    the engine that is asked; the main one has left no trace in any release.
    """
    stated = [_stated(request) for request in requests]
    try:
        data = _PACKER.encode(stated)
    except UnicodeEncodeError:  # half a character, which MessagePack cannot hold
        data = _escaped(msgspec.to_builtins(stated, enc_hook=_number_of)).encode()
    digest = hashlib.blake2b(data, digest_size=16)
    digest.update(b"".join(type(request).__name__.encode() for request in requests[:1]))
    if policy != ENGINE:
        digest.update(f"@{policy}".encode())
    return digest.hexdigest()


def _stated(request: Any) -> Any:
    """Return a request without a ``top_p`` of None, which earlier releases do not have."""
    params = getattr(request, "params", None)
    if not isinstance(params, Denoising) or params.top_p is not None:
        return request
    plain = msgspec.to_builtins(request, enc_hook=_number_of)
    del plain["params"]["top_p"]
    return plain


def _number_of(value: Any) -> int | float:
    """Return another library's number as one of Python's. Raises TypeError where it is not a number."""
    return operator.index(value) if hasattr(value, "__index__") else float(value)


_PACKER = msgspec.msgpack.Encoder(enc_hook=_number_of)
_WRITER = msgspec.json.Encoder(enc_hook=_number_of)


def _escaped(value: object) -> str:
    """Return JSON in ASCII, which can hold half a character as well."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_number_of)


def write_record(record: Record, before: int = 0) -> bytes:
    """Return one line of strict JSON. Infinities and NaN, which JSON does not have, are strings.

    ``before`` is the checksum of the line before this one, 0 for the first.
    """
    line = {
        "format": FORMAT,
        "call": record.call,
        "request": record.digest,
        "elapsed": round(record.elapsed, 6),
        "asked": record.asked,
        "answered": record.answered,
        "replies": None if record.replies is None else [_plain(r) for r in record.replies],
    }
    try:
        text = _WRITER.encode(line)
    except UnicodeEncodeError:
        text = _escaped(line).encode()
    return _checked(text[:-1], before)


def _checked(text: bytes, before: int) -> bytes:
    """Complete a line up to its last brace: with the checksum, the brace and the end of line."""
    return text + b'%b%08x"}\n' % (_CHECKSUM, zlib.crc32(text, before))


def checksum_of(line: bytes) -> int:
    """Return the checksum that a whole line holds."""
    return int(line[-len(b'01234567"}\n') : -len(b'"}\n')], 16)


def read_record(line: bytes, before: int = 0) -> Record:
    """Read the record of one line. Raises ValueError, KeyError or TypeError where it has another format.

    Raises ValueError also where it is not the line that was written after the one of checksum ``before``.
    """
    if line != _checked(line[:-_TAIL], before):
        raise ValueError("a journal line of another format, or one that is not as it was written")
    value = _loaded(line)
    if value["format"] != FORMAT:
        raise ValueError(f"a journal line of format {value['format']}; this release reads {FORMAT}")
    replies = value["replies"]
    return Record(
        call=value["call"],
        digest=value["request"],
        elapsed=float(value["elapsed"]),
        asked=int(value["asked"]),
        answered=int(value["answered"]),
        replies=None if replies is None else tuple(_reply(r) for r in replies),
    )


_Number = float | Literal["inf", "-inf", "nan"]


class _PlainReply(TypedDict, total=False):
    steps: list[tuple[str, list[int], _Number | None, str]]
    carried: tuple[list[int], list[_Number]]
    one_step_nll: _Number
    rewards: list[_Number]
    reasons: list[tuple[str, bool]]
    logprobs: list[_Number]
    granted: tuple[int, float, float, int]
    usage: list[Annotated[float, msgspec.Meta(ge=0, le=1.7976931348623157e308)]]


class _Line(TypedDict):
    call: str
    request: str
    elapsed: Annotated[float, msgspec.Meta(ge=0, le=1e30)]
    asked: int
    answered: int
    replies: list[_PlainReply] | None


def _loaded(line: bytes) -> Any:
    """Return the value of a line, with its fields checked for their types. Raises ValueError."""
    try:
        value = json.loads(line)
        msgspec.convert(value, _Line)
    except RecursionError:
        raise ValueError("a journal line that is nested too deeply") from None
    return value


def _plain(reply: Reply) -> dict[str, Any]:
    """Return a reply as JSON has it; ``usage`` is the numbers of a Usage in the order of its fields.

    The last field, the sequential tokens, is left out: a reply has none.
    """
    if isinstance(reply, RoundRecord):
        return {"granted": [reply.round, reply.gain, reply.cost, reply.granted]}
    usage = usage_values(reply.usage)[:-1]
    if isinstance(reply, Completion):
        return {"steps": [_plain_step(s) for s in reply.steps], **_plain_last(reply), "usage": usage}
    if isinstance(reply, ScoreReply):
        said = {"reasons": [[r.text, r.parsed] for r in reply.reasons]} if reply.reasons else {}
        return {"rewards": [_number(r.log_odds) for r in reply.rewards], **said, "usage": usage}
    return {"logprobs": [_number(x) for x in reply.logprobs], "usage": usage}


def _reply(plain: Mapping[str, Any]) -> Reply:
    if "granted" in plain:
        number, gain, cost, granted = plain["granted"]
        return RoundRecord(number, float(gain), float(cost), granted)
    usage = Usage(*plain["usage"])
    if "steps" in plain:
        return Completion(_steps(plain), usage)
    if "rewards" in plain:
        said = tuple(Reasons(text, parsed) for text, parsed in plain.get("reasons", ()))
        return ScoreReply(tuple(Reward(float(x)) for x in plain["rewards"]), usage, said)
    return Loglik(tuple(float(x) for x in plain["logprobs"]), usage)


def _plain_last(completion: Completion) -> dict[str, Any]:
    """Return what the last step alone may have: what it carries on, or the estimate of its canvas."""
    if not completion.steps:
        return {}
    carried, nll = completion.steps[-1].carried, completion.steps[-1].one_step_nll
    plain: dict[str, Any] = {} if nll is None else {"one_step_nll": _number(nll)}
    if carried is not None:
        plain["carried"] = [carried.token_ids, [_number(x) for x in carried.logprobs]]
    return plain


def _steps(plain: Mapping[str, Any]) -> tuple[Step, ...]:
    steps = tuple(_step(s) for s in plain["steps"])
    if "one_step_nll" in plain:
        steps = (*steps[:-1], replace(steps[-1], one_step_nll=float(plain["one_step_nll"])))
    if "carried" not in plain:
        return steps
    token_ids, logprobs = plain["carried"]
    carried = Carried(tuple(token_ids), tuple(float(x) for x in logprobs))
    return (*steps[:-1], replace(steps[-1], carried=carried))


def _plain_step(step: Step) -> list[Any]:
    """Return ``[text, token_ids, logprob, finish]``: an engine gives no reward, the session sets it again."""
    return [step.text, step.token_ids, _number(step.logprob), step.finish.name]


def _step(plain: Sequence[Any]) -> Step:
    text, token_ids, logprob, finish = plain
    return Step(text, tuple(token_ids), None if logprob is None else float(logprob), None, Finish[finish])


def _number(x: float | None) -> float | str | None:
    return x if x is None else float(x) if math.isfinite(x) else str(float(x))
