"""The requests of OpenAI's interface as pydantic models: what is honoured, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.serving.errors import ApiError, bad
from orchestrator.suggest import nearest

MAX_STOPS, MAX_MESSAGES = 16, 4096
_Stop = Annotated[str, Field(min_length=1, max_length=256)]
_Whole = Annotated[int, Field(ge=1, le=2**31)]
_Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class Strict(BaseModel):
    """A part of a request: a key that is unknown is refused, and so is a value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class StreamOptions(Strict):
    """What a stream holds beside the answer."""

    include_usage: bool = False
    continuous_usage_stats: bool = False


class SearchLimits(Strict):
    """Hard limits of one request."""

    generated_tokens: _Whole | None = None
    reward_calls: _Whole | None = None
    seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None
    cost: Annotated[float, Field(gt=0, le=1e12)] | None = None


class SearchOptions(Strict):
    """``extra_body={"search": {...}}``: what a search can do and OpenAI's interface has no word for."""

    strategy: str | None = None
    budget: _Whole | None = None
    limits: SearchLimits = SearchLimits()
    knobs: dict[str, Any] = {}
    progress: bool = False
    problem_id: Annotated[str, Field(min_length=1, max_length=256)] | None = None


_NO_MESSAGE = ("annotations", "audio", "function_call", "name", "refusal", "tool_calls")


class TextPart(Strict):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class Message(Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @model_validator(mode="before")
    @classmethod
    def _without_nothing(cls, value: Any) -> Any:
        """Leave out what other servers add to their answers, and clients send back, where it says nothing."""
        if not isinstance(value, dict):
            return value
        return {k: v for k, v in value.items() if k not in _NO_MESSAGE or v not in (None, [])}

    @property
    def text(self) -> str:
        content = self.content
        return content if isinstance(content, str) else "".join(part.text for part in content)


class Common(Strict):
    """What both kinds of requests have."""

    model: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: _Whole | None = None
    seed: _Seed | None = None
    stop: _Stop | Annotated[list[_Stop], Field(max_length=MAX_STOPS)] | None = None
    n: _Whole | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    search: SearchOptions = SearchOptions()

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatRequest(Common):
    """``POST /v1/chat/completions``."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: _Whole | None = None


class CompletionRequest(Common):
    """``POST /v1/completions``: the prompt is the question."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=1)]


R = TypeVar("R", bound=Common)
_MAX_KEY = 64  # characters of an unknown key that are shown

# Fields of OpenAI's that are not honoured, with the values that request nothing of us.
_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None,),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "metadata": (None, {}),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True, False),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "prompt_cache_key": (None,),
    "reasoning_effort": (None,),
    "response_format": (None, {"type": "text"}),
    "safety_identifier": (None,),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None,),
    "web_search_options": (None,),
}


def read_request(kind: type[R], body: Mapping[str, Any]) -> R:
    """Return the request of a body. Raises ApiError that names the field, and the nearest name."""
    for key, value in body.items():
        if key in _NOTHING and not any(value is each or value == each for each in _NOTHING[key]):
            raise bad(key, value, "cannot be honoured: leave it out")
    given = {key: value for key, value in body.items() if key not in _NOTHING}
    try:
        return kind.model_validate(given)
    except ValidationError as failure:
        raise _refusal(kind, failure) from None


# Which of several mistakes is reported: what kind of thing a part is, then misspelled keys, and last that a
# value which may be a text or a list is no text.
_ORDER = {"literal_error": 0, "extra_forbidden": 1, "string_type": 3}


def _refusal(kind: type[Strict], failure: ValidationError) -> ApiError:
    """Return the first mistake: of several readings of one value, the one that got furthest into it."""
    errors = sorted(failure.errors(include_url=False), key=lambda e: _ORDER.get(e["type"], 2))
    first = errors[0]["loc"][:1]
    error = max((e for e in errors if e["loc"][:1] == first), key=lambda e: len(_place(e["loc"])))
    if error["type"] == "extra_forbidden":
        return _unknown(kind, _place(error["loc"][:-1]), str(error["loc"][-1]))
    names = _place(error["loc"])
    place = ".".join(names)
    if error["type"] == "missing":
        return ApiError(400, f"{place}: must be given", place)
    if {"string_type", "list_type"} <= {e["type"] for e in errors if _place(e["loc"]) == names}:
        return bad(place, error["input"], "must be a text or a list")
    return bad(place, error["input"], _allowed(error["type"], error["msg"], error.get("ctx", {})))


def _unknown(kind: type[Strict], names: list[str], key: str) -> ApiError:
    known = _fields_at(kind, names)
    hint = nearest(key, known) or f"; known: {', '.join(known)}"
    is_plain = key.isprintable() and 0 < len(key) <= _MAX_KEY
    place = ".".join([*names, key if is_plain else repr(key[:_MAX_KEY])])
    return ApiError(400, f"{place}: unknown key{hint}", place)


def _allowed(kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Return what a value must be, from pydantic's words."""
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    if kind == "too_long":
        return f"must have at most {context['max_length']} of them"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters"
    if kind in ("model_type", "dict_type"):
        return "must be an object"
    words = message.removeprefix("Input should be ")
    return f"must be {words[0].lower()}{words[1:]}"


def _place(loc: tuple[int | str, ...]) -> list[str]:
    """Return the names of a place in a body, without those of the readings that pydantic has tried."""
    return [
        str(part)
        for part in loc
        if isinstance(part, int)
        or (part.replace("_", "").isidentifier() and part not in ("str", "int", "float", "bool", "TextPart"))
    ]


def _fields_at(kind: type[BaseModel], names: list[str]) -> list[str]:
    """Return the keys that a part of a request may have."""
    parts: Mapping[str, type[BaseModel]] = {
        "search": SearchOptions, "limits": SearchLimits, "stream_options": StreamOptions, "messages": Message,
        "content": TextPart,
    }  # fmt: skip
    inner = next((parts[name] for name in reversed(names) if name in parts), kind)
    return list(inner.model_fields)
