"""The strategies that a server offers, and how a request changes their knobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pkgutil import resolve_name
from typing import Any

from orchestrator.config.build import build_node
from orchestrator.config.files import TARGET
from orchestrator.config.planned import KEY as PLAN
from orchestrator.config.planned import check_planned
from orchestrator.errors import ConfigError
from orchestrator.search.strategy import Budgeted, Strategy
from orchestrator.serving.errors import ApiError, bad, refused
from orchestrator.suggest import nearest

NAME = "murmuration"
"""The model that stands for the server's own strategy; ``murmuration/greedy`` is another one."""
MAX_KNOB = 10_000
"""The largest number that a request may set a knob to."""
MIN_KNOB = 1e-6
"""The smallest fraction: a model's numbers divided by a smaller temperature have no place in a float."""
_MAX_TEXT = 64
_FIELDS = {"strategy": "search.knobs", "budget": "search.budget"}
"""What a request calls the keys of a run."""
_RESOLVED = ("${", "???")  # what OmegaConf replaces, or misses


@dataclass(frozen=True)
class Offer:
    """One strategy: ``node`` gives its configuration for a budget, resolved.

    ``changed`` gives the same with other values of knobs, which what refers to them follows; None: nothing
    refers to any. ``check`` raises ConfigError for a strategy that the server's models cannot serve.
    """

    name: str
    node: Callable[[int], Mapping[str, Any]]
    check: Callable[[Strategy], None] = field(default=lambda _: None)
    changed: Callable[[int, Mapping[str, Any]], Mapping[str, Any]] | None = None

    @property
    def model(self) -> str:
        return f"{NAME}/{self.name}"

    def budget_knob(self, budget: int) -> str | None:
        """Return the knob that the budget sets; None for a strategy that has no use for it."""
        cls = resolve_name(str(self.node(budget)[TARGET]))
        return cls.budget_knob if isinstance(cls, Budgeted) else None

    def with_knobs(self, budget: int, knobs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the configuration with other values of knobs. Raises ApiError for one that it has not."""
        node = self.node(budget)
        check_known(node, knobs, "search.knobs")
        if self.changed is None or not knobs:
            return overlaid(node, node, knobs)
        return self.changed(budget, knobs)


@dataclass(frozen=True)
class Decoding:
    """What a request says of decoding; None leaves it to the strategy."""

    temperature: float | None = None
    top_p: float | None = None


class Offers:
    """The strategies by name; ``default`` is the one of requests that name none."""

    def __init__(self, offers: Mapping[str, Offer], default: str, left_out: Mapping[str, str]) -> None:
        self.all = offers
        self.default = default
        self._left_out = left_out
        self._made = lru_cache(maxsize=256)(self._make)

    def named(self, name: str, param: str) -> Offer:
        """Return a strategy. Raises ApiError, with the reason where the server's models cannot serve it."""
        if name in self.all:
            return self.all[name]
        if name in self._left_out:
            raise ApiError(400, f"{param}={name}: {self._left_out[name]}", param)
        hint = nearest(name[:_MAX_TEXT], self.all) or f"; known: {', '.join(self.all)}"
        raise ApiError(400, f"{param}={name[:100]}: no such strategy{hint}", param)

    def of_model(self, model: str) -> Offer | None:
        """Return the strategy of ``murmuration/NAME``; None for the default. Raises ApiError."""
        first, slash, name = model.partition("/")
        if first != NAME or (slash and name not in {*self.all, *self._left_out}):
            known = [NAME, *(offer.model for offer in self.all.values())]
            hint = nearest(model[:_MAX_TEXT], known) or f"; GET /v1/models lists {len(known)}"
            raise ApiError(404, f"model={model[:100]!r}: no such model{hint}", "model", "model_not_found")
        return self.named(name, "model") if slash else None

    def build(self, offer: Offer, budget: int, knobs: Mapping[str, Any], decoding: Decoding) -> Strategy:
        """Return the strategy of a request. Raises ApiError."""
        check_knobs(knobs, "search.knobs")
        return self._made(offer.name, budget, json.dumps(knobs), decoding)

    def _make(self, name: str, budget: int, knobs_json: str, decoding: Decoding) -> Strategy:
        offer, knobs = self.all[name], json.loads(knobs_json)
        node = offer.node(budget)
        set_by = {offer.budget_knob(budget): "search.budget", PLAN: "plan= of the server"}
        for knob in node.keys() & set_by.keys() & knobs.keys():
            raise bad(f"search.knobs.{knob}", knobs[knob], f"is set by {set_by[knob]}")
        node = decoded(offer.with_knobs(budget, knobs), decoding, name)
        try:
            strategy: Strategy = build_node(node, "strategy")
            offer.check(strategy)
            check_planned(node, budget)
        except ConfigError as error:
            raise refused(error, _FIELDS) from None
        return strategy


def check_knobs(value: Any, place: str) -> None:
    """Raise ApiError for what no knob of a request may be: a class to build, or a number without a bound."""
    if isinstance(value, dict):
        if TARGET in value:
            raise bad(f"{place}.{TARGET}", value[TARGET], "is no knob")
        for key, each in value.items():
            check_knobs(each, f"{place}.{key}")
    elif isinstance(value, list):
        for i, each in enumerate(value):
            check_knobs(each, f"{place}.{i}")
        if len(value) > _MAX_TEXT:
            raise bad(place, value, f"must hold at most {_MAX_TEXT} values")
    elif isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, int | float) and not -MAX_KNOB <= value <= MAX_KNOB:
        raise bad(place, value, f"must be a number between {-MAX_KNOB:,} and {MAX_KNOB:,}")
    elif isinstance(value, float) and 0 < abs(value) < MIN_KNOB:
        raise bad(place, value, f"must be 0, or at least {MIN_KNOB:g} in size")


def _check_text(value: str, place: str) -> None:
    if len(value) > _MAX_TEXT:
        raise bad(place, value, f"must be at most {_MAX_TEXT} characters")
    if any(sign in value for sign in _RESOLVED):
        raise bad(place, value, "must be a plain value: nothing in a request is resolved")


def check_known(node: Mapping[str, Any], knobs: Mapping[str, Any], place: str) -> None:
    """Raise ApiError for a knob that a node does not have, or whose value has another form there."""
    known = [key for key in node if key != TARGET]
    for name, value in knobs.items():
        if name not in known:
            hint = nearest(name[:_MAX_TEXT], known) or f"; known: {', '.join(known)}"
            place = f"{place}.{name[:_MAX_TEXT]}"
            raise ApiError(400, f"{place}: unknown knob{hint}", place)
        before, below = node[name], f"{place}.{name}"
        if isinstance(value, dict) != isinstance(before, dict):
            raise bad(below, value, "must be keys below it" if isinstance(before, dict) else
                      "must be a value without keys below it")  # fmt: skip
        if isinstance(before, dict):
            check_known(before, value, below)


def overlaid(
    written: Mapping[str, Any], resolved: Mapping[str, Any], knobs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a node as it is ``written`` with other values of knobs that it has once it is ``resolved``.

    Where keys below a reference change, a copy of what it refers to takes its place.
    """
    result = dict(written)
    for name, value in knobs.items():
        own, below = written[name], resolved[name]
        if isinstance(below, dict):
            result[name] = overlaid(own if isinstance(own, dict) else below, below, value)
        else:
            result[name] = value
    return result


_DECODING = ("sampling", "draft_sampling", "denoising")
"""Knobs of a strategy by which policies write answers; the calls of roles have theirs."""


def decoded(node: Mapping[str, Any], decoding: Decoding, strategy: str) -> dict[str, Any]:
    """Return a node that decodes as a request says, with the strategies in it. Raises ApiError."""
    stated = {name: value for name, value in vars(decoding).items() if value is not None}
    for name, value in stated.items():
        check_knobs(value, name)
        found = list(_decoding_in(node))
        if not found and name == "temperature" and value > 0:
            raise bad(name, value, f"strategy {strategy} decodes at temperature 0")
        if any(name not in place for place in found):
            raise bad(name, value, f"cannot be honoured by strategy {strategy}")
    result = deepcopy(dict(node))
    for place in _decoding_in(result):
        place.update(stated)
    return result


def _decoding_in(value: Any, *, is_strategy: bool = True) -> Iterator[dict[str, Any]]:
    """Yield how a strategy's node decodes answers, and the strategies below it."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _decoding_in(each, is_strategy=False)
    if isinstance(value, Mapping):
        is_strategy = is_strategy or isinstance(
            resolve_name(str(value.get(TARGET, "builtins.dict"))), Strategy
        )
        for name, each in value.items():
            if is_strategy and name in _DECODING and isinstance(each, dict):
                yield each
            else:
                yield from _decoding_in(each, is_strategy=False)
