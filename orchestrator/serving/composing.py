"""From a composed configuration to what a server serves: every strategy, at any budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.config.build import build_node
from orchestrator.config.compatibility import check_language, check_params, check_prompts, check_readout
from orchestrator.config.compose import each_choice, only_composed
from orchestrator.config.naming import check_policies
from orchestrator.config.plan import Plan, plan_of
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.renamed import renamed
from orchestrator.search.strategy import Strategy, knows_answers
from orchestrator.serving.offers import Offer, Offers
from orchestrator.serving.service import Served
from orchestrator.serving.settings import ServeSettings, read_serve

SERVE = "serve"
CONFIG = "serve"
"""The file of ``conf/`` that a server is composed from."""


def composed(arguments: Sequence[str]) -> tuple[Served, Plan]:
    """Return what a command line serves, and its plan. Raises ConfigError and Hydra's errors."""
    return only_composed(arguments, lambda config: served_of(config, arguments), CONFIG)


def served_of(config: DictConfig, arguments: Sequence[str]) -> tuple[Served, Plan]:
    """Return what a configuration that Hydra has just composed serves, and its plan. Raises ConfigError."""
    node = OmegaConf.to_container(config[SERVE], resolve=True, throw_on_missing=True)
    assert isinstance(node, dict)
    settings = read_serve({str(key): value for key, value in node.items()})
    plan = plan_of(OmegaConf.masked_copy(config, [str(key) for key in config if key != SERVE]))
    if plan.verifier.knows_answers:
        allowed = "rewards by the reference answer, and a question that is asked here has none"
        raise ConfigError("verifier", plan.names["verifier"], allowed)
    return served(plan, settings, config, arguments), plan


def served(plan: Plan, settings: ServeSettings, config: DictConfig, arguments: Sequence[str]) -> Served:
    """Return everything that a server needs but the models."""
    return Served(
        settings=settings,
        offers=offers_of(plan, config, arguments),
        task=plan.task,
        budget=plan.settings.budget,
        seed=plan.settings.seed,
        limits=plan.limits,
        concurrency=plan.settings.concurrency,
        policies=plan.others,
    )


def offers_of(plan: Plan, config: DictConfig, arguments: Sequence[str]) -> Offers:
    """Return the strategies of the group, those that the plan's models cannot serve with the reason."""
    default = plan.names["strategy"]
    offers, left_out = {default: _offer(plan, default, config)}, dict[str, str]()
    fixed = [f"{group}={name}" for group, name in plan.names.items() if group != "strategy"]
    for name, composed in each_choice("strategy", fixed, arguments):
        if name == default:
            continue
        try:
            offers[name] = _checked(_offer(plan, name, _with_strategy(config, composed)))
        except (MurmurationError, HydraException, OmegaConfBaseException) as reason:
            left_out[name] = str(reason).splitlines()[0]
    return Offers(dict(sorted(offers.items())), default, left_out)


def _with_strategy(config: DictConfig, composed: DictConfig | Exception) -> DictConfig:
    """Return the server's own configuration with the strategy of another one."""
    if isinstance(composed, Exception):
        raise composed
    result = config.copy()
    OmegaConf.set_struct(result, False)
    result.strategy = composed.strategy
    return result


def _offer(plan: Plan, name: str, config: DictConfig) -> Offer:
    # Resolving takes a millisecond, and every request reads it.
    return Offer(name, lru_cache(maxsize=64)(partial(_node, config)), partial(check, plan, name))


_MANY = 64


def _checked(offer: Offer) -> Offer:
    # With one sample a strategy may be able to do without what it needs for more.
    offer.check(build_node(offer.node(_MANY), "strategy"))
    return offer


def _node(config: DictConfig, budget: int) -> Mapping[str, Any]:
    """Return the node of the strategy at a budget, resolved."""
    config.budget = budget
    node = OmegaConf.to_container(config.strategy, resolve=True, throw_on_missing=True)
    assert isinstance(node, dict)
    return dict(renamed({str(key): value for key, value in node.items()}))


def check(plan: Plan, name: str, strategy: Strategy) -> None:
    """Raise ConfigError for a strategy that the plan's models cannot serve."""
    names = {**plan.names, "strategy": name}
    if knows_answers(strategy):
        raise ConfigError("strategy", name, "knows the answers, and a question that is asked here has none")
    check_readout(names, strategy, plan.verifier.readout)
    check_params(names, strategy, plan.engine.takes)
    check_policies(strategy, plan.others.names)
    check_prompts(names, strategy, plan.engine)
    check_language(names, plan.task, strategy, plan.engine, plan.verifier)
