"""A library call as the files of a run name it: the configuration that the same objects would have."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Protocol, runtime_checkable

from orchestrator.search.controller import Controller
from orchestrator.search.strategy import Budgeted, Strategy
from orchestrator.types import ENGINE

_TARGET = "_target_"  # as in config, which is beside this file
_NO_VERIFIER = "orchestrator.NoVerifier"


@runtime_checkable
class Described(Protocol):
    """A model that says what the files of a run hold of it.

    The name is no word that a user's class would have for something else.
    """

    @property
    def run_description(self) -> Mapping[str, Any]:
        """The keys of its node in config.json, without its class."""
        ...


def described(controller: Controller) -> dict[str, Any]:
    """Return the content of config.json; what matters to an answer is compared when the run resumes."""
    verifier = controller.verifier
    return {
        "strategy": node_of(controller.strategy),
        "engine": node_of(controller.engine),
        "verifier": {_TARGET: _NO_VERIFIER} if verifier is None else node_of(verifier),
        "task": node_of(controller.task),
        "limits": asdict(controller.limits),
        "budget": budget_of(controller.strategy),
        "seed": controller.seed,
        "concurrency": controller.concurrency,
        **_policies_of(controller),
    }


def _policies_of(controller: Controller) -> dict[str, Any]:
    """Return the nodes of further policies, and all prices; another name of the engine is ``engine``."""
    nodes = {n: ENGINE if e is controller.engine else node_of(e) for n, e in controller.policies.items()}
    prices = {name: asdict(price) for name, price in controller.prices.items()}
    return {key: found for key, found in (("policies", nodes), ("prices", prices)) if found}


def labels_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of summary.json that a configuration fixes: the groups' names, budget and seed."""
    groups = ("strategy", "task", "engine", "verifier")
    return {
        **{group: name_of(config[group][_TARGET]) for group in groups},
        "budget": config["budget"],
        "seed": config["seed"],
        "offset": 0,
        "limit": None,
    }


def name_of(target: str) -> str:
    """Return a class's name as a choice of its group is written: ``strategies.BestOfN`` is ``best_of_n``."""
    name = re.sub(r"(Config|Verifier|Engine|Task)$", "", target.rpartition(".")[2]) or target
    return "none" if target == _NO_VERIFIER else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def budget_of(strategy: Strategy) -> int:
    """Return the number of full-length samples that a strategy's budget knob holds; 1 without one."""
    knob = strategy.budget_knob if isinstance(strategy, Budgeted) else None
    return 1 if knob is None else int(getattr(strategy, knob))


def node_of(part: object) -> dict[str, Any]:
    """Return an object's node: its class, and the fields that its representation shows."""
    target = {_TARGET: _name_of_class(type(part))}
    if isinstance(part, Described):
        return {**target, **part.run_description}
    if not is_dataclass(part):
        return target
    shown = [field.name for field in fields(part) if field.repr and field.init]
    return target | {name: _plain(getattr(part, name)) for name in shown}


def function_name(function: object) -> str:
    """Return the module and name of a function, or of the class of an object that is called as one."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _name_of_class(cls: type[Any]) -> str:
    """Return the public name where the package lists the class, else the full one."""
    package = cls.__module__.partition(".")[0]
    public = getattr(sys.modules.get(package), "__all__", ())
    return f"{package}.{cls.__name__}" if cls.__name__ in public else f"{cls.__module__}.{cls.__qualname__}"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return node_of(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else _named(value)


def _named(value: object) -> str:
    return function_name(value) if callable(value) else function_name(type(value))
