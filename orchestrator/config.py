"""From a composed configuration to validated values, with one clear line for every mistake."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from orchestrator.conf_files import TARGET
from orchestrator.errors import ConfigError
from orchestrator.knob_types import plain_type
from orchestrator.limits import Limits
from orchestrator.renamed import renamed
from orchestrator.secret_keys import check_config
from orchestrator.suggest import nearest

GROUPS = ("task", "verifier", "engine", "strategy", "cluster", "tracker")
_DATA = (Collection, int, float, complex, str, bytes, NoneType)
EXPERIMENT = "experiment"  # presets of all these; the one group that may be null


class RunSettings(BaseModel):
    """The scalar keys of a run; the groups stay nodes until they are built."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    budget: int = Field(ge=1)
    seed: int = Field(ge=0)
    concurrency: int = Field(ge=1)
    run_dir: str = Field(min_length=1)
    resume: bool
    keep_journal: bool
    dry_run: bool
    log_level: Literal["debug", "info", "warning", "error", "none"] = "info"


class TaskRange(BaseModel):
    """Which problems of the task a run solves."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    offset: int = Field(ge=0)
    limit: int | None = Field(ge=1)


@dataclass(frozen=True, slots=True)
class Range:
    """Problems ``offset .. offset + limit`` of a task; ``limit`` None is all that follow."""

    offset: int
    limit: int | None


def as_plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain containers, with classes under their present names.

    Raises ConfigError for a key that nothing reads, a group that is none and a secret, OmegaConf's own errors
    for a value that is missing or cannot be resolved.
    """
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    plain = {str(k): v for k, v in container.items()}
    known = (*GROUPS, "limits", *RunSettings.model_fields)
    for key, value in plain.items():
        if key not in known:
            raise ConfigError(key, value, f"unknown key{nearest(key, known)}")
        if key not in RunSettings.model_fields and not isinstance(value, Mapping):
            raise ConfigError(key, value, f"must be one of the files of conf/{key}, or keys below {key}")
    check_config(plain)
    return dict(renamed(plain))


def read_settings(plain: Mapping[str, Any]) -> RunSettings:
    """The scalar keys, validated."""
    settings: RunSettings = _validated(RunSettings, plain, "")
    return settings


def read_limits(plain: Mapping[str, Any]) -> Limits:
    """The node ``limits``, validated."""
    limits = build(Limits, plain["limits"], "limits")
    assert isinstance(limits, Limits)
    return limits


def read_range(task: Mapping[str, Any], num_problems: int) -> Range:
    """``task.offset`` and ``task.limit``. Raises ConfigError for an offset past the end."""
    checked = _validated(TaskRange, {k: task.get(k) for k in ("offset", "limit")}, "task")
    if checked.offset >= num_problems:
        raise ConfigError(
            "task.offset", checked.offset, f"must be below {num_problems}, the number of problems"
        )
    return Range(checked.offset, checked.limit)


def build_node(node: Mapping[str, Any], key: str, leave_out: tuple[str, ...] = ()) -> Any:
    """The object that a group's ``_target_`` and knobs describe; every knob is checked against its type.

    Raises ConfigError that names ``key.knob``, the value and what is allowed, or the nearest knob.
    """
    if TARGET not in node:
        raise ConfigError(f"{key}.{TARGET}", None, "every group needs the class to build")
    try:
        cls = get_class(str(node[TARGET]))
    except Exception as failure:
        raise ConfigError(f"{key}.{TARGET}", node[TARGET], f"cannot be imported: {failure}") from failure
    knobs = {k: v for k, v in node.items() if k != TARGET}
    _check_known(knobs, (*inspect.signature(cls).parameters, *leave_out), key)
    return build(cls, {k: v for k, v in knobs.items() if k not in leave_out}, key)


def build(cls: type[Any], knobs: Mapping[str, Any], key: str) -> Any:
    """``cls(**knobs)`` with every knob checked against its annotation; nested nodes are built first."""
    parameters = inspect.signature(cls).parameters
    _check_known(knobs, parameters, key)
    hints = get_type_hints(cls if is_dataclass(cls) else cls.__init__)
    values = {name: _knob(f"{key}.{name}", value, hints.get(name, Any)) for name, value in knobs.items()}
    missing = [n for n, p in parameters.items() if p.default is p.empty and n not in values]
    if missing:
        raise ConfigError(f"{key}.{missing[0]}", None, "must be given")
    return cls(**values)


def _check_known(knobs: Mapping[str, Any], known: Iterable[str], key: str) -> None:
    names = list(known)
    for name in knobs:
        if name not in names:
            hint = nearest(name, names) or f"; known: {', '.join(names)}"
            raise ConfigError(f"{key}.{name}", knobs[name], f"unknown key{hint}")


def _knob(key: str, value: Any, hint: Any) -> Any:
    hint = plain_type(hint)
    if isinstance(value, Mapping) and TARGET in value:
        if not _takes_object(hint):
            raise ConfigError(f"{key}.{TARGET}", value[TARGET], "is no knob: nothing is built of this key")
        try:
            return build_node(value, key)
        except ConfigError as error:
            raise _placed(error, key) from None
    if isinstance(value, Mapping) and is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, key)
    try:
        # A list of a YAML file is a tuple for a frozen value, so sequences are not strict.
        return TypeAdapter(hint, config=_arbitrary(hint)).validate_python(value, strict=_is_scalar(value))
    except ValidationError as failure:
        raise ConfigError(key, value, _wanted(key, value, hint) or _message(failure)) from None


def _wanted(key: str, value: Any, hint: Any) -> str | None:
    """How to write a list or a node of keys, where a single value was given; None for other mistakes."""
    kinds = [get_origin(each) or each for each in (hint, *get_args(hint))]
    if any(is_dataclass(kind) and isinstance(kind, type) for kind in kinds):
        return f"must be keys below it, such as {key}.{next(iter(inspect.signature(kinds[0]).parameters))}"
    is_list = any(kind in (abc.Sequence, list, tuple) for kind in kinds)
    return f"must be a list: '{key}=[{value}]'" if is_list and _is_scalar(value) else None


def _takes_object(hint: Any) -> bool:
    """Whether a knob of this type holds something that is built: never one that holds plain data."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return any(isinstance(o, type) and o not in (Any, object) and not issubclass(o, _DATA) for o in options)


def _placed(error: ConfigError, key: str) -> ConfigError:
    """The error of a node below another: an engine in a verifier says ``engine.model`` all the same."""
    parent, _, name = key.rpartition(".")
    if not parent or error.key.startswith(f"{parent}.") or not error.key.startswith(f"{name}."):
        return error
    return ConfigError(f"{parent}.{error.key}", error.value, error.allowed)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, list | dict)


def _arbitrary(hint: Any) -> ConfigDict | None:
    """Pydantic takes no configuration for a dataclass or a model: they carry their own."""
    is_own = isinstance(hint, type) and (is_dataclass(hint) or issubclass(hint, BaseModel))
    return None if is_own else ConfigDict(arbitrary_types_allowed=True)


def _validated(model: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    try:
        return model.model_validate(dict(values))
    except ValidationError as failure:
        error = failure.errors()[0]
        name = ".".join(
            str(part) for part in error["loc"] if isinstance(part, str) and part in model.model_fields
        )
        value = values.get(name)
        raise ConfigError(f"{prefix}.{name}" if prefix else name, value, _message(failure)) from None


def _message(failure: ValidationError) -> str:
    """Pydantic's words for the first mistake of one value, as what is allowed."""
    words = {
        e["msg"].removeprefix("Input should be ").removeprefix("Value error, ") for e in failure.errors()
    }
    if any(e["type"] == "string_too_short" for e in failure.errors()):
        return "must not be empty"
    return "must be " + " or ".join(sorted(words)).replace("None", "null")
