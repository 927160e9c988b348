"""From a composed configuration to validated values, with one clear line for every mistake."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt
from hydra.utils import get_class
from msgspec import UnsetType
from omegaconf import DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.config.calibrated import inlined
from orchestrator.config.files import TARGET
from orchestrator.config.kept import NOTHING_KEPT, Kept, with_kept
from orchestrator.config.knob_types import plain_type
from orchestrator.config.planned import with_floors, with_plan
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.observe.tracing import Tracing
from orchestrator.protocols import step_rule_of
from orchestrator.renamed import renamed
from orchestrator.schema import (
    Count,
    CountOrZero,
    NotEmpty,
    Words,
    checked,
    converted,
    hints_of,
    options,
    pydantic_words,
)
from orchestrator.search.account import Limits
from orchestrator.storage.secret_keys import check_config
from orchestrator.suggest import nearest

GROUPS = ("task", "verifier", "engine", "strategy", "allocator", "cluster", "tracker")
_DATA = (Collection, int, float, complex, str, bytes, NoneType)
RANGE = ("offset", "limit")  # keys of a task's node that read_range reads, not the task
EXPERIMENT = "experiment"  # presets of all groups; the only group that may be null


class RunSettings(BaseModel):
    """The scalar keys of a run; the groups stay nodes until they are built."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    budget: Count
    """Full-length samples' worth of policy generation for each problem; each strategy's docstring says how
    it reads it.
    """
    seed: CountOrZero
    """Of the search only: problems are fixed by task, split and index."""
    concurrency: Count
    """Problems in flight at once; changes no answer."""
    run_dir: NotEmpty
    """Where the files below go: by default ``outputs/`` and the time; with ``_2``, ``_3``, ... if another run
    of the same second has the name.
    """
    resume: Annotated[bool, Words("must be true, false or a directory")]  # config.command_line reads the last
    """``true`` resumes ``run_dir``, or starts it where it is empty; the directory of a run or of a sweep
    resumes that one with its own configuration; beside it a larger ``budget=`` extends a finished run of
    independent samples (docs/adaptive.md#extend-a-run).
    """
    keep_journal: bool
    """Keep every model reply in ``run_dir/journal`` after its problem is done."""
    dry_run: bool
    """Print the resolved configuration, the placement and the expected cost, and stop; on a running cluster,
    check whether the replicas fit its nodes.
    """
    log_level: Literal["debug", "info", "warning", "error", "none"] = "info"
    """The lowest level that ``events.jsonl`` holds: ``debug`` is a line a call; ``none`` keeps no file."""
    tracing: Tracing = "none"
    """Spans of OpenTelemetry: in ``traces.jsonl``, or to a collector (docs/observability.md#traces)."""
    plan: str | None = None
    """A file of ``python -m orchestrator.allocation``: of ``fit`` for ``strategy=compute_optimal``
    (docs/adaptive.md), of ``features`` for ``strategy=self_consistency`` (docs/strategies.md).
    """
    cassette: NotEmpty | None = None
    """A folder that keeps the models' replies: a request that it holds is not sent again, by any run
    (docs/roles.md#cassettes).
    """
    cassette_only: bool = False
    """With ``cassette``: load no model; a request that the folder does not hold fails its problem."""


@dataclass(frozen=True, slots=True)
@checked("task")
class Range:
    """Problems ``offset .. offset + limit`` of a task; ``limit`` None means all that follow."""

    offset: Annotated[int, Field(ge=0)]
    """The first problem; past the end exits 2."""
    limit: Annotated[int | None, Field(ge=1)]
    """How many problems; ``null`` is all that follow."""


_Length = Annotated[int, Gt(0)]


@dataclass(frozen=True, slots=True)
@checked("task")
class Suggested:
    """What a task's node suggests to strategies, which interpolate it (``${task.max_steps}``)."""

    max_steps: _Length = 1
    """The most steps of a solution."""
    max_step_tokens: _Length = 1
    """The most tokens of one step."""
    max_tokens: _Length = 1
    """The most tokens of a whole solution."""
    block_lengths: tuple[_Length, ...] | None = None
    """For denoising: the block lengths over which ``hex`` votes."""
    temperature: Annotated[float | None, Ge(0)] = None
    """For denoising: the temperature of ``hex``."""


def as_plain(config: DictConfig, kept: Kept = NOTHING_KEPT) -> dict[str, Any]:
    """Return the resolved configuration as plain containers, with classes under their present names.

    The content of a fitted file takes the place of its path; ``kept`` is what the run has of it already.

    Raises ConfigError for an unknown key, a group that is not a node of keys and a secret, MurmurationError
    for a key that was deleted, and OmegaConf's errors for a value that is missing or cannot be resolved.
    """
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    plain = {str(k): v for k, v in container.items()}
    known = (*GROUPS, "limits", "policies", *RunSettings.model_fields)
    for key, value in plain.items():
        if key not in known:
            raise ConfigError(key, value, f"unknown key{nearest(key, known)}")
        if key == "policies" and not isinstance(value, Mapping):
            raise ConfigError(key, value, "must be keys below it, such as +engine@policies.draft=NAME")
        if key not in RunSettings.model_fields and not isinstance(value, Mapping):
            raise ConfigError(key, value, f"must be one of the files of conf/{key}, or keys below {key}")
    required = [name for name, field in RunSettings.model_fields.items() if field.is_required()]
    for key in (*GROUPS, "limits", *required):
        if key not in plain:
            raise MurmurationError(f"{key}: a run needs this key, and the configuration does not have it")
    check_config(plain)
    return with_floors(with_plan(inlined(with_kept(renamed(plain), kept))))


def read_settings(plain: Mapping[str, Any]) -> RunSettings:
    """Return the scalar keys, validated."""
    settings: RunSettings = _validated(RunSettings, plain, "")
    return settings


def read_limits(plain: Mapping[str, Any]) -> Limits:
    """Return the node ``limits``, validated."""
    limits = build(Limits, plain["limits"], "limits")
    assert isinstance(limits, Limits)
    return limits


def read_range(task: Mapping[str, Any], num_problems: int) -> Range:
    """Return ``task.offset`` and ``task.limit``. Raises ConfigError for an offset past the end."""
    chosen: Range = build(Range, {name: task.get(name) for name in RANGE}, "task")
    if chosen.offset >= num_problems:
        allowed = f"must be below {num_problems}, the number of problems"
        raise ConfigError("task.offset", chosen.offset, allowed)
    return chosen


def build_task(node: Mapping[str, Any]) -> Any:
    """Return the task of a configuration's node, built without the keys that are not its own.

    Those are the range, and what the task suggests to strategies, if its class does not take them itself.
    """
    cls = _target(node, "task")
    others = {*RANGE, *Suggested.__slots__} - inspect.signature(cls).parameters.keys()
    build(Suggested, {k: v for k, v in node.items() if k in others and k not in RANGE}, "task")
    task = _built(cls, node, "task", others)
    _check_step(task, node)
    return task


def _check_step(task: Any, node: Mapping[str, Any]) -> None:
    """Raise ConfigError where a step that ``task.step.tokens`` allows would be cut off."""
    step = step_rule_of(task)
    tokens = None if isinstance(step, UnsetType) else step.tokens
    for key in ("max_step_tokens", "max_tokens"):
        most = node.get(key)
        if tokens is not None and isinstance(most, int) and most < tokens:
            allowed = f"must be at most task.{key}={most}: a step would be cut off"
            raise ConfigError("task.step.tokens", tokens, allowed)


def build_node(node: Mapping[str, Any], key: str) -> Any:
    """Build the object that a group's ``_target_`` and knobs describe; every knob's type is checked.

    Raises ConfigError that names ``key.knob``, the value and what is allowed, or the nearest knob.
    """
    return _built(_target(node, key), node, key)


def _target(node: Mapping[str, Any], key: str) -> type[Any]:
    if TARGET not in node:
        raise ConfigError(f"{key}.{TARGET}", None, "every group needs the class to build")
    try:
        return get_class(str(node[TARGET]))
    except Exception as failure:
        raise ConfigError(f"{key}.{TARGET}", node[TARGET], f"cannot be imported: {failure}") from failure


def _built(cls: type[Any], node: Mapping[str, Any], key: str, others: Collection[str] = ()) -> Any:
    knobs = {k: v for k, v in node.items() if k != TARGET}
    _check_known(knobs, (*inspect.signature(cls).parameters, *others), key)
    return build(cls, {k: v for k, v in knobs.items() if k not in others}, key)


def build(cls: type[Any], knobs: Mapping[str, Any], key: str) -> Any:
    """Return ``cls(**knobs)``; every knob is checked against its annotation, nested nodes are built first."""
    parameters = inspect.signature(cls).parameters
    _check_known(knobs, parameters, key)
    hints = hints_of(cls)
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
            raise ConfigError(
                f"{key}.{TARGET}",
                value[TARGET],
                "is no knob: nothing is built of this key",
            )
        try:
            return build_node(value, key)
        except ConfigError as error:
            raise _placed(error, key) from None
    if isinstance(value, Mapping) and (parts := _dataclasses(hint)):
        return build(parts[0], value, key)
    if isinstance(value, Mapping) and (kind := _entries(hint)) is not None:
        return {name: _knob(f"{key}.{name}", item, kind) for name, item in value.items()}
    if isinstance(value, list | tuple) and (kind := _items(hint)) is not None:
        return tuple(_knob(f"{key}.{i}", item, kind) for i, item in enumerate(value))
    if (allowed := _allowed_form(key, value, hint)) is not None:
        raise ConfigError(key, value, allowed)
    return converted(key, value, hint)


def _allowed_form(key: str, value: Any, hint: Any) -> str | None:
    """Return how to write a list or a node of keys, if a single value was given; None for other mistakes."""
    kinds = {get_origin(each) or each for each in options(hint)}
    if not isinstance(value, int | float | str) or kinds & {Any, str, bool, int, float, Literal}:
        return None
    if parts := _dataclasses(hint):
        return f"must be keys below it, such as {key}.{next(iter(inspect.signature(parts[0]).parameters))}"
    return f"must be a list: '{key}=[{value}]'" if kinds & {abc.Sequence, list, tuple} else None


def _dataclasses(hint: Any) -> list[type[Any]]:
    return [kind for kind in options(hint) if isinstance(kind, type) and is_dataclass(kind)]


def _takes_object(hint: Any) -> bool:
    """Return whether a knob of this type can hold an object that is built: plain data cannot."""
    kinds = [kind for kind in options(hint) if isinstance(kind, type)]
    return any(kind not in (Any, object) and not issubclass(kind, _DATA) for kind in kinds)


def _items(hint: Any) -> Any:
    """Return the type of a tuple's items where objects are built of them; None for any other knob."""
    for kind in options(hint):
        if get_origin(kind) is tuple and _takes_object(item := get_args(kind)[0]):
            return item
    return None


def _entries(hint: Any) -> Any:
    """Return the type of a mapping's values where objects are built of them; None for any other knob."""
    for kind in options(hint):
        if get_origin(kind) is abc.Mapping and _takes_object(item := get_args(kind)[1]):
            return item
    return None


def _placed(error: ConfigError, key: str) -> ConfigError:
    """Return a nested node's error with its full key: an engine in a verifier only says ``engine.model``."""
    parent, _, name = key.rpartition(".")
    if not parent or error.key.startswith(f"{parent}.") or not error.key.startswith(f"{name}."):
        return error
    return ConfigError(f"{parent}.{error.key}", error.value, error.allowed)


def _validated(model: type[Any], values: Mapping[str, Any], prefix: str) -> Any:
    try:
        return model.model_validate(dict(values))
    except ValidationError as failure:
        error = failure.errors()[0]
        name = ".".join(
            str(part) for part in error["loc"] if isinstance(part, str) and part in model.model_fields
        )
        value = values.get(name)
        raise ConfigError(f"{prefix}.{name}" if prefix else name, value, pydantic_words(failure)) from None
