"""From a composed configuration to what a server serves: every strategy, at any budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.backend import Backend
from orchestrator.config.build import as_plain, build_node
from orchestrator.config.compatibility import check_together
from orchestrator.config.compose import each_choice, only_composed
from orchestrator.config.files import CONF
from orchestrator.config.plan import Plan, plan_of
from orchestrator.config.planned import KEY as PLAN
from orchestrator.config.policies import check_priced
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.renamed import renamed
from orchestrator.runs.models import verifier_of
from orchestrator.search.strategy import Strategy, knows_answers
from orchestrator.serving.offers import Offer, Offers, overlaid
from orchestrator.serving.service import Loaded, Served
from orchestrator.serving.settings import ServeSettings, read_serve

SERVE = "serve"
CONFIG = "serve"
"""The file of ``conf/`` that a server is composed from."""
OF_A_RUN = (
    "run_dir", "resume", "keep_journal", "dry_run", "log_level", "tracing", "cassette", "cassette_only",
)  # fmt: skip
NO_USE = {"allocator": "uniform", "tracker": "none"}
"""The files of groups that a server has no use for, which request nothing of it."""


def composed(arguments: Sequence[str]) -> tuple[Served, Plan]:
    """Return what a command line serves, and its plan. Raises ConfigError and Hydra's errors."""
    return only_composed(arguments, lambda config: served_of(config, arguments), CONFIG)


def served_of(config: DictConfig, arguments: Sequence[str]) -> tuple[Served, Plan]:
    """Return what a configuration that Hydra has just composed serves, and its plan. Raises ConfigError."""
    node = OmegaConf.to_container(config[SERVE], resolve=True, throw_on_missing=True)
    assert isinstance(node, dict)
    settings = read_serve({str(key): value for key, value in node.items()})
    config = OmegaConf.masked_copy(config, [str(key) for key in config if key != SERVE])
    check_served(config)
    plan = plan_of(config)
    check_priced("serve.limits", settings.limits, plan.others.prices)
    if plan.verifier.knows_answers:
        allowed = "rewards by the reference answer, and a question that is asked here has none"
        raise ConfigError("verifier", plan.names["verifier"], allowed)
    return served(plan, settings, config, arguments), plan


def check_served(config: DictConfig) -> None:
    """Raise ConfigError for a key of a run that a server would not obey."""
    allowed = "is for a run, and a server has no use for it: leave it out"
    given, usual = (OmegaConf.to_container(c) for c in (config, OmegaConf.load(CONF / "config.yaml")))
    assert isinstance(given, dict) and isinstance(usual, dict)
    for key in OF_A_RUN:
        if given.get(key, usual[key]) != usual[key]:
            raise ConfigError(key, given[key], allowed)
    for group, nothing in NO_USE.items():
        if (name := HydraConfig.get().runtime.choices[group]) != nothing:
            raise ConfigError(group, name, allowed)


def loaded(plan: Plan, backend: Backend) -> Loaded:
    """Return the models of a plan, whose replicas are ready."""
    return Loaded(backend, verifier_of(plan, backend))


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
        range=plan.range,
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
    """Return the server's own configuration with the strategy of another one, and without a plan for it."""
    if isinstance(composed, Exception):
        raise composed
    result = config.copy()
    OmegaConf.set_struct(result, False)
    result.strategy, result.plan = composed.strategy, None
    return result


def _offer(plan: Plan, name: str, config: DictConfig) -> Offer:
    # Resolving takes a millisecond, and every request reads it; the file of a plan is read once.
    fitted = {key: value for key, value in as_plain(config)["strategy"].items() if key == PLAN}
    node = lru_cache(maxsize=64)(partial(_node, config, fitted))
    return Offer(name, node, partial(check, plan, name), partial(changed, config, fitted))


_MANY = 64


def _checked(offer: Offer) -> Offer:
    # With one sample a strategy may be able to do without what it needs for more.
    offer.check(build_node(offer.node(_MANY), "strategy"))
    return offer


def _node(config: DictConfig, fitted: Mapping[str, Any], budget: int) -> Mapping[str, Any]:
    """Return the node of the strategy at a budget, resolved, with what a file was read for."""
    config.budget = budget
    node = OmegaConf.to_container(config.strategy, resolve=True, throw_on_missing=True)
    assert isinstance(node, dict)
    return {**renamed({str(key): value for key, value in node.items()}), **fitted}


def changed(
    config: DictConfig, fitted: Mapping[str, Any], budget: int, knobs: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the node of the strategy with other values of knobs, set before it is resolved."""
    result = config.copy()
    OmegaConf.set_struct(result, False)
    written: Any = OmegaConf.to_container(config.strategy)
    result.strategy = overlaid(written, _node(config, fitted, budget), knobs)
    return _node(result, fitted, budget)


def check(plan: Plan, name: str, strategy: Strategy) -> None:
    """Raise ConfigError for a strategy that the plan's models cannot serve."""
    names = {**plan.names, "strategy": name}
    if knows_answers(strategy):
        raise ConfigError("strategy", name, "knows the answers, and a question that is asked here has none")
    check_together(names, plan.task, strategy, plan.engine, plan.verifier, plan.others)
