"""The strategies that a server offers, and how a request changes their knobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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


@dataclass(frozen=True)
class Offer:
    """One strategy: ``node`` gives its configuration for a budget, resolved.

    ``check`` raises ConfigError for a strategy that the server's models cannot serve.
    """

    name: str
    node: Callable[[int], Mapping[str, Any]]
    check: Callable[[Strategy], None] = field(default=lambda _: None)

    @property
    def model(self) -> str:
        return f"{NAME}/{self.name}"

    def budget_knob(self, budget: int) -> str | None:
        """Return the knob that the budget sets; None for a strategy that has no use for it."""
        cls = resolve_name(str(self.node(budget)[TARGET]))
        return cls.budget_knob if isinstance(cls, Budgeted) else None


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
        node = decoded(merged(node, knobs, "search.knobs"), decoding, name)
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
    elif isinstance(value, str) and len(value) > _MAX_TEXT:
        raise bad(place, value, f"must be at most {_MAX_TEXT} characters")
    elif isinstance(value, int | float) and not -MAX_KNOB <= value <= MAX_KNOB:
        raise bad(place, value, f"must be a number between {-MAX_KNOB:,} and {MAX_KNOB:,}")
    elif isinstance(value, float) and 0 < abs(value) < MIN_KNOB:
        raise bad(place, value, f"must be 0, or at least {MIN_KNOB:g} in size")


def merged(node: Mapping[str, Any], knobs: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a node with other values of knobs that it has. Raises ApiError for any other knob."""
    result = dict(node)
    for name, value in knobs.items():
        known = [key for key in node if key != TARGET]
        if name not in known:
            hint = nearest(name[:_MAX_TEXT], known) or f"; known: {', '.join(known)}"
            place = f"{place}.{name[:_MAX_TEXT]}"
            raise ApiError(400, f"{place}: unknown knob{hint}", place)
        before = node[name]
        if isinstance(value, dict) != isinstance(before, dict):
            raise bad(f"{place}.{name}", value, "must be keys below it" if isinstance(before, dict) else
                      "must be a value without keys below it")  # fmt: skip
        result[name] = merged(before, value, f"{place}.{name}") if isinstance(before, dict) else value
    return result


def decoded(node: Mapping[str, Any], decoding: Decoding, strategy: str) -> dict[str, Any]:
    """Return a node that decodes as a request says. Raises ApiError where the strategy cannot."""
    result = dict(node)
    place = next((name for name in ("sampling", "denoising") if isinstance(node.get(name), dict)), None)
    for name in ("temperature", "top_p"):
        value = getattr(decoding, name)
        if value is None:
            continue
        check_knobs(value, name)
        if place is None and name == "temperature" and value > 0:
            raise bad(name, value, f"strategy {strategy} decodes at temperature 0")
        if place is not None and name not in result[place]:
            raise bad(name, value, f"cannot be honoured by strategy {strategy}")
        if place is not None:
            result[place] = {**result[place], name: value}
    return result
