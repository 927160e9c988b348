"""Which choices work together; other pairs are refused with both keys, before a model loads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import UnsetType

from orchestrator.allocation.rounds import Rounds
from orchestrator.backend import AnyVerifierConfig
from orchestrator.config.naming import check_policies, key_of, placed, step_writers
from orchestrator.errors import ConfigError
from orchestrator.protocols import (
    EngineConfig,
    LimitsSteps,
    MadeForTask,
    MayLackPrefixes,
    MayTakeHistory,
    Task,
    step_rule_of,
)
from orchestrator.search.budgets import independent_knob_of
from orchestrator.search.strategy import Budgeted, Strategy, Whole, in_chat, parts_of, prompts, strategies_in
from orchestrator.types import ENGINE, Params, Sampling

if TYPE_CHECKING:  # it loads Hydra, which the library does without
    from orchestrator.config.policies import Policies

Names = Mapping[str, str]
"""The chosen file of each group: ``{"strategy": "greedy", "engine": "embedded", ...}``."""


def check_together(
    names: Names,
    task: Task,
    strategy: Strategy,
    engine: EngineConfig,
    verifier: AnyVerifierConfig,
    others: Policies,
) -> None:
    """Raise ConfigError where a strategy does not go with the task, or with the models that it would ask.

    A run is held to it before it starts, and every request of a server.
    """
    check_readout(names, strategy, verifier.readout)
    check_policies(strategy, others.names)
    check_params(names, strategy, engine.takes)
    check_whole(names, strategy, engine)
    check_steps(names, task, strategy, engine)
    check_prompts(names, strategy, engine, verifier)
    check_language(names, task, strategy, engine, verifier)
    for name, other in others.configs.items():
        check_policy(names, name, other, strategy, task)


def check_allocator(allocator: object, strategy: Strategy, node: Mapping[str, Any], budget: int) -> None:
    """Raise ConfigError where samples cannot be granted to a strategy, or its bids would say nothing."""
    if not isinstance(allocator, Rounds):
        return
    stops = (node.get("stop") or {}).get("rule", "none") in ("threshold", "beta") or node.get("wave_size")
    if independent_knob_of(strategy) is None or stops:
        allowed = "needs independent samples (best_of_n, self_consistency, hex) without waves, stop and prune"
        raise ConfigError("allocator", "rounds", allowed)
    if allocator.first > budget:
        allowed = f"must be at most budget={budget}, the mean of all samples"
        raise ConfigError("allocator.first", allocator.first, allowed)
    if strategy.readouts:
        return
    if allocator.gain != "vote":
        allowed = "needs rewards, and this strategy reads none: vote"
        raise ConfigError("allocator.gain", allocator.gain, allowed)


def check_readout(names: Names, strategy: Strategy, readout: str | None) -> None:
    """Raise ConfigError if a verifier with this read-out does not give what the strategy reads."""
    pair = f"strategy={names['strategy']}"
    if not isinstance(strategy, Strategy):
        allowed = "must be a class with the members of protocols.Strategy"
        raise ConfigError("strategy", names["strategy"], allowed)
    if strategy.readouts and readout is None:
        allowed = f"{pair} needs a verifier; choose one, or another strategy"
        raise ConfigError("verifier", names["verifier"], allowed)
    if strategy.readouts and readout not in strategy.readouts:
        allowed = f"{pair} with its aggregation needs {' or '.join(strategy.readouts)}"
        raise ConfigError("verifier.readout", readout, allowed)


def check_params(names: Names, strategy: Strategy, takes: type[Params]) -> None:
    """Raise ConfigError if the engine, which takes these parameters, cannot do what the strategy requests.

    A strategy's decoding parameters are among its knobs, and their type says which kind they are; a strategy
    without any uses Sampling. Those that it runs are asked for too.
    """
    asked = {kind for each in strategies_in(strategy) for kind in _params_of(each)}
    for kind in asked - {takes}:
        reason = f"takes {takes.__name__}, and strategy={names['strategy']} asks for {kind.__name__}"
        allowed = f"{reason}: choose another engine, or another strategy"
        raise ConfigError("engine", names["engine"], allowed)


def _params_of(strategy: Strategy) -> set[type[Params]]:
    return {type(knob) for _, knob in parts_of(strategy) if isinstance(knob, Params)} or {Sampling}


def check_whole(names: Names, strategy: Strategy, engine: object) -> None:
    """Raise ConfigError if the engine makes whole answers alone, and the strategy requests something else."""
    because = engine.whole_because if isinstance(engine, MayLackPrefixes) else None
    if because is None:
        return
    name = names["strategy"]
    draws = isinstance(strategy, Budgeted) and strategy.independent_samples
    if because.independent and not draws:
        allowed = f"{because.key}={because.value} has whole samples: choose best_of_n or self_consistency"
        raise ConfigError("strategy", name, allowed)
    if not (isinstance(strategy, Whole) and strategy.whole_answers):
        reason = f"makes whole answers alone, and strategy={name} extends them step by step"
        raise ConfigError(because.key, because.value, f"{reason}: choose another strategy, such as best_of_n")


def check_steps(names: Names, task: Task, strategy: Strategy, engine: object, policy: str = ENGINE) -> None:
    """Raise ConfigError if the engine cannot end steps as the task says, or a step would be cut off.

    ``policy`` is the engine's name among the run's.
    """
    step = step_rule_of(task)
    if isinstance(step, UnsetType):
        return
    if isinstance(engine, LimitsSteps) and (because := engine.no_steps_by(step)) is not None:
        key, value, why = because
        value = str(value).lower() if isinstance(value, bool) else value
        shown = f"{key_of(policy, key)}={value if key != ENGINE else names[ENGINE]}"
        part = "markers" if isinstance(step.markers, str) else "mode"
        allowed = f"does not go with {shown}: {why}"
        raise ConfigError(f"task.step.{part}", getattr(step, part), allowed)
    by_steps = not (isinstance(strategy, Whole) and strategy.whole_answers)
    most = getattr(getattr(strategy, "sampling", None), "max_tokens", None)
    if by_steps and step.tokens is not None and most is not None and most < step.tokens:
        allowed = f"must be at least task.step.tokens={step.tokens}: it would cut steps off"
        raise ConfigError("strategy.sampling.max_tokens", most, allowed)


def check_prompts(names: Names, strategy: Strategy, engine: object, verifier: object = None) -> None:
    """Raise ConfigError if a part prompts in words, and the engine knows the characters of one task.

    Also if the strategy shows earlier turns of a chat, and the engine has no chat template.
    """
    made_for = engine.knows_task if isinstance(engine, MadeForTask) else None
    for group, part in {"strategy": strategy, "verifier": verifier if strategy.readouts else None}.items():
        if made_for is not None and prompts(part):
            reason = f"prompts the policy in words, and engine={names['engine']} knows task={made_for} alone"
            raise ConfigError(group, names[group], f"{reason}: choose another engine=")
    if in_chat(strategy) and isinstance(engine, MayTakeHistory) and not engine.takes_history:
        reason = f"strategy={names['strategy']} shows earlier turns, for which a prompt needs a chat template"
        raise ConfigError("engine.chat", "false", f"{reason}: set true, or choose another strategy")


def module_of(task: Task) -> str:
    """Return the module of a task in ``orchestrator.tasks``, as a model names the one that it knows."""
    return type(task).__module__.rpartition(".")[2]


def check_language(names: Names, task: Task, strategy: Strategy, engine: object, verifier: object) -> None:
    """Raise ConfigError if a shipped model is combined with a task that it was not made for.

    It only knows the characters of that task: ``embedded:chain-policy`` is made for the task of
    ``orchestrator/tasks/chain.py``.
    """
    configs = {"engine": engine, "verifier": verifier} if strategy.readouts else {"engine": engine}
    for group, config in configs.items():
        made_for = config.knows_task if isinstance(config, MadeForTask) else None
        if made_for is not None and made_for != module_of(task):
            model = f" with {config.model}" if hasattr(config, "model") else ""
            reason = f"{group}={names[group]}{model} knows task={made_for} alone"
            raise ConfigError("task", names["task"], f"{reason}; choose {group}= for this task too")


def check_policy(names: Names, name: str, config: EngineConfig, strategy: Strategy, task: Task) -> None:
    """Raise ConfigError where a further policy cannot decode as the strategy asks, or knows another task."""
    own = {**names, ENGINE: type(config).__name__}
    try:
        check_params(own, strategy, config.takes)
        if name in step_writers(strategy):
            check_whole(own, strategy, config)
            check_steps(own, task, strategy, config, name)
    except ConfigError as error:
        raise placed(name, error) from None
    made_for = config.knows_task if isinstance(config, MadeForTask) else None
    if made_for is not None and made_for != module_of(task):
        allowed = f"knows task={made_for} alone; choose another model, or that task"
        raise ConfigError(f"policies.{name}.model", getattr(config, "model", None), allowed)
