"""One schema: a field's annotation says what it may hold, for a YAML file and for direct construction.

``Annotated[int, Ge(1)]`` (annotated-types), ``Literal``, and two more annotations: ``Words`` says what is
allowed where the constraints would not say it well, ``Rule`` is a condition with its words. Pydantic
checks them, strictly: ``"1"``, ``True`` and ``1.0`` are not whole numbers, NaN and infinity are not numbers.
It is imported at the first check.

Example::

    @dataclass(frozen=True, slots=True)
    @checked("cluster")
    class Cluster:
        replicas: Annotated[int, Ge(1)] = 1

    Cluster(replicas=0)  # ConfigError: cluster.replicas=0: must be a whole number of 1 or more
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen

from orchestrator.errors import ConfigError
from orchestrator.suggest import nearest

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
_GROUP = "__group__"


@dataclass(frozen=True, slots=True)
class Words:
    """What a field allows, in words, where the words of its constraints are not clear enough.

    ``quoted`` shows a bad value in quotes: an empty text, or one with line breaks.
    """

    allowed: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition that no constraint of annotated-types expresses, and what it allows in words."""

    holds: Callable[[Any], bool]
    allowed: str
    quoted: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        from pydantic_core import PydanticCustomError

        if not self.holds(value):
            raise PydanticCustomError("rule", "{allowed}", {"allowed": self.allowed, "quoted": self.quoted})
        return value


Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Probability = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0), Words("must be above 0 and finite")]
NotEmpty = Annotated[str, MinLen(1), Words("must not be empty")]


def checked(group: str) -> Callable[[type[T]], type[T]]:
    """Check a dataclass's fields at every construction, before its own ``__post_init__``.

    Place it below ``@dataclass``. A bad field is a ConfigError of ``group.field``. The fields of a dataclass
    that is the value of one, such as ``strategy.sampling.top_p``, are checked with it.
    """

    def decorate(cls: type[T]) -> type[T]:
        own: Callable[[T], None] | None = getattr(cls, "__post_init__", None)

        def check(self: T) -> None:
            check_fields(group, self)
            if own is not None:
                own(self)

        setattr(cls, _GROUP, group)
        setattr(cls, "__post_init__", check)  # noqa: B010 - mypy knows no such attribute of a type
        return cls

    return decorate


def group_of(config: object) -> str:
    """Return the group of a checked dataclass, for messages of later checks."""
    return str(getattr(config, _GROUP))


def check_fields(key: str, instance: Any) -> None:
    """Raise ConfigError for the first field of a dataclass that is not as its annotation says."""
    hints = hints_of(type(instance))
    for field in fields(instance):
        value, hint = getattr(instance, field.name), hints[field.name]
        if is_dataclass(value) and not isinstance(value, type):
            _check_nested(f"{key}.{field.name}", value, hint)
        else:
            converted(f"{key}.{field.name}", value, hint)


def _check_nested(key: str, value: Any, hint: Any) -> None:
    kinds = [kind for kind in options(hint) if isinstance(kind, type) and is_dataclass(kind)]
    if kinds and not isinstance(value, tuple(kinds)):
        raise ConfigError(key, value, f"must be {' or '.join(kind.__name__ for kind in kinds)}")
    if not hasattr(value, _GROUP):
        check_fields(key, value)


def converted(key: str, value: Any, hint: Any) -> Any:
    """Return the value in its annotation's type: a whole number as a float, a list as a tuple.

    Raises ConfigError that names the key, the value and what is allowed.
    """
    adapter = _adapter(hint)
    if adapter is None:
        return value
    from pydantic import ValidationError

    if callable(value) and (functions := [kind for kind in options(hint) if _is_function(kind)]):
        return _checked_function(key, value, hint, functions[0])
    if isinstance(value, list) and any(get_origin(kind) is tuple for kind in options(hint)):
        value = tuple(value)
    if hasattr(value, "__float__") and not isinstance(value, Real) and float in options(hint):
        # Pydantic would take numpy's True.
        raise ConfigError(key, value, allowed(hint) or "must be a valid number")
    try:
        return adapter.validate_python(value, strict=True)
    except ValidationError as failure:
        raise _error(key, value, hint, failure) from None


def _is_function(kind: Any) -> bool:
    """Return whether a type is a protocol of functions, so that a knob may name one or be one."""
    return bool(getattr(kind, "_is_protocol", False)) and "__call__" in vars(kind)


def _checked_function(key: str, function: Callable[..., Any], hint: Any, kind: Any) -> Any:
    """Return the function. Raises ConfigError where it does not take the protocol's arguments."""
    _, *takes = inspect.signature(kind.__call__).parameters
    try:
        inspect.signature(function).bind(*takes)
    except TypeError:
        named = f"one of {', '.join(choices)}, or " if (choices := _choices(hint)) else ""
        raise ConfigError(key, function, f"must be {named}a function of ({', '.join(takes)})") from None
    except ValueError:  # one that is written in C may not have one
        pass
    return function


def hints_of(cls: Any) -> dict[str, Any]:
    """Return the annotations of a class's constructor, with their constraints."""
    return _hints(cls)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls if is_dataclass(cls) else cls.__init__, include_extras=True)


def options(hint: Any) -> list[Any]:
    """Return the types that an annotation allows, without its constraints."""
    if get_origin(hint) is Annotated:
        return options(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [option for each in get_args(hint) for option in options(each)]
    return [hint]


@cache
def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    """Return what checks an annotation; None for a protocol, which cannot be checked at construction."""
    from pydantic import BaseModel, ConfigDict, TypeAdapter

    if any(_is_blind(kind) for kind in options(hint)):
        return None
    own = isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, BaseModel))
    config = None if own else ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    return TypeAdapter(hint, config=config)


def _is_blind(kind: Any) -> bool:
    return getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)


def _error(key: str, value: Any, hint: Any, failure: ValidationError) -> ConfigError:
    """Return the error in a rule's words, the annotation's, or else pydantic's."""
    for error in failure.errors():
        if error["type"] == "rule":
            told = error["ctx"]
            return ConfigError(key, repr(value) if told["quoted"] else value, told["allowed"])
    words = next((each for each in _metadata(hint) if isinstance(each, Words)), None)
    shown = repr(value) if words is not None and words.quoted else value
    return ConfigError(key, shown, allowed(hint) or _choice_in_words(value, hint) or pydantic_words(failure))


def _choice_in_words(value: Any, hint: Any) -> str:
    """The names that are allowed, and the nearest one; empty where anything but a name is."""
    named = [k for k in options(hint) if k is not NoneType and not _is_object(k)]
    if any(get_origin(kind) is not Literal for kind in named) or not (choices := _choices(hint)):
        return ""
    null = ", or null" if NoneType in options(hint) else ""
    return f"must be one of {', '.join(choices)}{null}" + nearest(str(value), choices)


def _is_object(kind: Any) -> bool:
    """Return whether a type is an interface: no single value of a file is one."""
    return bool(getattr(kind, "_is_protocol", False)) or inspect.isabstract(kind)


def _choices(hint: Any) -> list[str]:
    return [str(c) for kind in options(hint) if get_origin(kind) is Literal for c in get_args(kind)]


def pydantic_words(failure: ValidationError) -> str:
    """Return pydantic's words for the mistakes of one value, as what is allowed."""
    errors = failure.errors()
    if any(e["type"] == "string_too_short" for e in errors):
        return "must not be empty"
    if any(e["type"] == "literal_error" for e in errors):  # a function would do too, which no file can hold
        errors = [e for e in errors if e["type"] != "is_instance_of"]
    words = {e["msg"].removeprefix("Input should be ").removeprefix("Value error, ") for e in errors}
    return "must be " + " or ".join(sorted(words)).replace("None", "null")


def allowed(hint: Any) -> str | None:
    """Return what an annotation's constraints allow, in words; None where it has none."""
    for each in _metadata(hint):
        if isinstance(each, Words):
            return each.allowed
    for kind, metadata in _annotations(hint):
        if words := _number_in_words(kind, metadata):
            return f"must be {words}" + (", or null" if NoneType in options(hint) else "")
    return None


def _metadata(hint: Any) -> Iterator[Any]:
    return (item for _, metadata in _annotations(hint) for item in metadata)


def _annotations(hint: Any) -> Iterator[tuple[Any, Sequence[Any]]]:
    """Yield each annotated type in a hint, with its metadata."""
    if get_origin(hint) is Annotated:
        yield next(k for k in options(hint) if k is not NoneType), hint.__metadata__
    elif get_origin(hint) in (Union, UnionType):
        for each in get_args(hint):
            yield from _annotations(each)


def _number_in_words(kind: Any, metadata: Sequence[Any]) -> str | None:
    noun = "a whole number" if kind is int else "a number"
    match _bounds(metadata):
        case {"ge": least, "le": most}:
            return f"{least}..{most}" if kind is int else f"in [{least}, {most}]"
        case {"ge": least, "lt": most}:
            return f"in [{least}, {most})"
        case {"gt": least, "le": most}:
            return f"in ({least}, {most}]"
        case {"ge": least}:
            return f"{noun} of {least} or more"
        case {"gt": least}:
            return f"{noun} above {least}"
    return None


def _bounds(metadata: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in metadata:
        for name, kind in (("ge", Ge), ("gt", Gt), ("le", Le), ("lt", Lt)):
            if isinstance(each, kind | Interval) and getattr(each, name) is not None:
                found[name] = getattr(each, name)
    return found
