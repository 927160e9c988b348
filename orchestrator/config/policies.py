"""``policies.NAME``: further engines of a run beside ``engine``, aliases of one of them, and prices.

``+engine@policies.draft=transformers`` adds an engine, ``policies.judge=engine`` another name for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.backend import AnyVerifierConfig
from orchestrator.config.build import build, build_node
from orchestrator.config.files import TARGET
from orchestrator.config.naming import check_name, placed
from orchestrator.errors import ConfigError
from orchestrator.protocols import Engine, EngineConfig
from orchestrator.search.account import Limits
from orchestrator.search.prices import Price
from orchestrator.suggest import nearest
from orchestrator.types import ENGINE

POLICIES, PRICE = "policies", "price"


@dataclass(frozen=True, slots=True)
class Policies:
    """The further policies of a run: their configurations, which name stands for which other one, and prices.

    ``prices`` are those of all policies, the main one included.
    """

    configs: Mapping[str, EngineConfig] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All names that a call may give, the main policy's first."""
        return [ENGINE, *self.configs, *self.aliases]

    def engines(self, started: Mapping[str, Engine]) -> dict[str, Engine]:
        """Return the further engines of a run by name, from those that a backend has started."""
        others = {name: started[name] for name in self.configs}
        return others | {name: started[target] for name, target in self.aliases.items()}

    def resolved(self, verifier: AnyVerifierConfig) -> AnyVerifierConfig:
        """Return a verifier that names the engine itself, where the policy that it names is an alias."""
        target = self.aliases.get(getattr(verifier, "policy", ""))
        return verifier if target is None else replace(verifier, policy=target)  # type: ignore[type-var]


NO_POLICIES = Policies()


def build_engine(node: Mapping[str, Any]) -> EngineConfig:
    """Return the main policy's configuration from its node, which may hold a price. Raises ConfigError."""
    engine: EngineConfig = build_node(without_price(node), ENGINE)
    return engine


def without_price(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return an engine's node without what is no key of the engine."""
    return {key: value for key, value in node.items() if key != PRICE}


def read_policies(plain: Mapping[str, Any], limits: Limits) -> Policies:
    """Return the further policies and all prices of a configuration. Raises ConfigError."""
    nodes = plain.get(POLICIES, {})
    for name, node in nodes.items():
        _check_node(name, node)
    own = {name: node for name, node in nodes.items() if isinstance(node, Mapping)}
    aliases = {name: node for name, node in nodes.items() if not isinstance(node, Mapping)}
    for name, target in aliases.items():
        if target != ENGINE and target not in own:
            known = f"must be another policy: {', '.join([ENGINE, *own])}{nearest(target, [ENGINE, *own])}"
            raise ConfigError(f"{POLICIES}.{name}", target, known)
    prices = {name: _price(f"{POLICIES}.{name}", node) for name, node in own.items() if node.get(PRICE)}
    if plain[ENGINE].get(PRICE):
        prices[ENGINE] = _price(ENGINE, plain[ENGINE])
    check_priced("limits", limits, prices)
    configs = {name: _built(name, node) for name, node in own.items()}
    return Policies(configs, aliases, prices | {a: prices[t] for a, t in aliases.items() if t in prices})


def check_priced(key: str, limits: Limits, prices: Mapping[str, Price]) -> None:
    """Raise ConfigError for a limit of cost where no policy has a price: it would never be reached."""
    if limits.cost is not None and not prices:
        allowed = "needs the price of a policy, such as engine.price.generated=2 (of a million tokens)"
        raise ConfigError(f"{key}.cost", limits.cost, allowed)


def _check_node(name: str, node: object) -> None:
    key = f"{POLICIES}.{name}"
    check_name(name)
    if not isinstance(node, str) and not (isinstance(node, Mapping) and TARGET in node):
        allowed = f"needs an engine: +engine@{key}=NAME, or {key}={ENGINE} for another name of that one"
        raise ConfigError(key, node if not isinstance(node, Mapping) else None, allowed)


def _price(key: str, node: Mapping[str, Any]) -> Price:
    given = node[PRICE]
    if not isinstance(given, Mapping):
        allowed = f"must be keys below it, such as {key}.{PRICE}.generated=2 (of a million tokens)"
        raise ConfigError(f"{key}.{PRICE}", given, allowed)
    price: Price = build(Price, given, f"{key}.{PRICE}")
    return price


def _built(name: str, node: Mapping[str, Any]) -> EngineConfig:
    try:
        return build_engine(node)
    except ConfigError as error:
        raise placed(name, error) from None
