"""The parts of a library call: each has the members that a search calls, or the call is refused at once."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.config.naming import check_name
from orchestrator.errors import ConfigError
from orchestrator.search.account import Limits
from orchestrator.search.prices import Price
from orchestrator.types import ENGINE

_STRATEGY = ("solve", "readouts")
_ENGINE = ("generate", "loglik", "release", "info")
_VERIFIER = ("score", "info")
_TASK = ("delimiter", "answer_marker", "instruction", "extract", "keys", "grade")


def check_parts(
    strategy: object, engine: object, verifier: object | None, task: object, limits: object
) -> None:
    """Raise ConfigError for the first part that is something else: a name, a class, a plain function."""
    _check("strategy", strategy, _STRATEGY, "a strategy, such as strategies.BestOfN(8)")
    _check("engine", engine, _ENGINE, "an engine, such as TextEngine(propose) or that of start()")
    if verifier is not None:
        wanted = "a verifier, such as TextVerifier(reward) or that of start(), or None"
        _check("verifier", verifier, _VERIFIER, wanted)
    _check("task", task, _TASK, "a task, such as TextTask()")
    if not isinstance(limits, Limits):
        raise ConfigError("limits", limits, "must be Limits(...)")


def check_engines(policies: object, prices: object, limits: Limits) -> None:
    """Raise ConfigError unless these are engines and prices by the names of policies."""
    if not isinstance(policies, Mapping) or ENGINE in policies:
        allowed = "must be engines by names other than 'engine', such as {'draft': engine}"
        raise ConfigError("policies", _shown(policies), allowed)
    for name, engine in policies.items():
        _check(f"policies.{name}", engine, _ENGINE, "an engine, such as TextEngine(propose)")
    known = [ENGINE, *policies]
    if not isinstance(prices, Mapping) or not all(isinstance(price, Price) for price in prices.values()):
        raise ConfigError("prices", _shown(prices), "must be Price(...) by the names of policies")
    for name in prices:
        if name not in known:
            raise ConfigError("prices", name, f"must be of a policy: {', '.join(known)}")
    if limits.cost is not None and not prices:
        raise ConfigError("limits.cost", limits.cost, "needs prices={'engine': Price(...)}")


def check_named(policies: object) -> None:
    """Raise ConfigError unless the further engines of ``start`` have names that a policy can have."""
    if not isinstance(policies, Mapping):
        allowed = "must be configurations of engines by name, such as {'draft': 'embedded'}"
        raise ConfigError("policies", _shown(policies), allowed)
    for name in policies:
        check_name(name)


def check_configs(engine: object, verifier: object, cluster: object, policies: Mapping[str, object]) -> None:
    """Raise ConfigError for the first part of ``start`` that is no configuration."""
    name = "or the name of a file in conf/"
    engines = {ENGINE: engine, **{f"policies.{policy}": other for policy, other in policies.items()}}
    for key, config in engines.items():
        _check(key, config, ("build",), f"a configuration, such as actors.VllmEngineConfig(...), {name}")
    wanted = f"a configuration, such as actors.VllmVerifierConfig(...), {name}, or None"
    _check("verifier", verifier, ("knows_answers", "of_replicas", "open"), wanted)
    _check("cluster", cluster, ("start", "stop"), "local, inprocess, or such as actors.RayCluster(...)")


def _check(key: str, part: object, members: tuple[str, ...], wanted: str) -> None:
    if isinstance(part, type):
        raise ConfigError(key, f"the class {part.__name__}", f"must be an object: {part.__name__}(...)")
    if not all(hasattr(part, name) for name in members):
        raise ConfigError(key, _shown(part), f"must be {wanted}")


def _shown(part: object) -> str:
    if part is None or isinstance(part, str | int | float):
        return str(part)
    return str(getattr(part, "__name__", f"an object of {type(part).__name__}"))
