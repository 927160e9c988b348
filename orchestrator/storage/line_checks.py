"""The shape of a line of results.jsonl: what reads a line relies on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from orchestrator.storage.json_reading import NOT_OURS, BadJson
from orchestrator.types import Overhead, Usage

_LARGEST = 1.7976931348623157e308
_Number = Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e30)]  # many of them may be added up
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Length = Annotated[int, msgspec.Meta(ge=0, le=10**7)]


class _Error(TypedDict):
    type: str
    message: str


class _Candidate(TypedDict):
    """A candidate; keys of later releases are absent in lines of earlier ones."""

    answer: str | None
    text: str
    reward: _Share | None
    log_weight: _Number | None
    num_tokens: _Length
    correct: bool
    finished: NotRequired[bool]
    logprob: NotRequired[_Number | None]
    step_lengths: NotRequired[list[_Length]]
    step_tokens: NotRequired[list[_Length]]
    step_logprobs: NotRequired[list[_Number | Literal["inf", "-inf", "nan"] | None]]
    step_log_odds: NotRequired[list[_Number | Literal["inf", "-inf"] | None]]
    cut_off: NotRequired[str | None]
    block_length: NotRequired[_Count]
    nll: NotRequired[_Number | None]
    one_step_nll: NotRequired[_Number]
    group: NotRequired[_Count]


class _Line(TypedDict):
    problem_id: str
    question: str
    reference: str
    answer: str | None
    correct: bool
    error: _Error | None
    stopped_by: str | None
    candidates: list[_Candidate]
    usage: dict[str, Any]
    overhead: dict[str, Any]
    seconds: _Amount
    history: list[dict[str, Any]]
    answer_index: NotRequired[_Count | None]


_REAL = {"flops"}
_USAGE = {f.name for f in fields(Usage)}
_NEEDED = {"generated_tokens", "reward_calls", "flops"}
_OVERHEAD = {f.name for f in fields(Overhead)}
_Spent = dict[str, _Amount]
_Repeated = dict[str, _Count]


def known_usage(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage of a line without the fields of later releases."""
    return _known(line["usage"], _USAGE)


def known_overhead(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overhead of a line without the fields of later releases."""
    return _known(line["overhead"], _OVERHEAD)


def _known(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


def check_line(value: dict[str, Any]) -> None:
    """Raise BadJson that names the wrong field of a line. Unknown fields are ignored."""
    _check(value, _Line)
    _check_spent(value)
    _check_order(value)


def _check(value: Any, kind: Any) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as failure:
        raise BadJson(NOT_OURS, str(failure)) from None
    except ValueError as failure:  # half a character in a name
        raise BadJson(NOT_OURS, type(failure).__name__) from None


def _check_spent(value: dict[str, Any]) -> None:
    usage = known_usage(value)
    _check(usage, _Spent)
    _check(known_overhead(value), _Repeated)
    if missing := _NEEDED - usage.keys():
        raise BadJson(NOT_OURS, f"fields of its usage are missing: {', '.join(sorted(missing))}")
    if not all(isinstance(number, int) for name, number in usage.items() if name not in _REAL):
        raise BadJson(NOT_OURS, "its usage counts in fractions")


def _check_order(value: dict[str, Any]) -> None:
    """Raise BadJson unless the answer is one of the candidates, and each has as many rewards as steps."""
    candidates = value["candidates"]
    index = value.get("answer_index")
    if index is not None and value["error"] is None and index >= len(candidates):
        raise BadJson(NOT_OURS, "its answer_index is past the last candidate")
    for candidate in candidates:
        lengths, rewards = candidate.get("step_lengths", ()), candidate.get("step_log_odds", ())
        if len(lengths) != len(rewards):
            raise BadJson(NOT_OURS, "a candidate has another number of steps than of rewards")
