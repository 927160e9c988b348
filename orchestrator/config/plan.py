"""A run before it starts: a composed configuration, validated and built, with nothing loaded yet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from orchestrator.allocation.calibration import Calibration
from orchestrator.allocation.rounds import UNIFORM, Rounds, Uniform
from orchestrator.backend import AnyVerifierConfig, Cluster, asked_policies
from orchestrator.config.build import (
    Range,
    RunSettings,
    as_plain,
    build_node,
    build_task,
    read_limits,
    read_range,
    read_settings,
)
from orchestrator.config.calibrated import (
    CalibrationFile,
    check_calibration,
    read_calibration,
)
from orchestrator.config.compatibility import check_allocator, check_together
from orchestrator.config.kept import NOTHING_KEPT, kept_of
from orchestrator.config.naming import check_policies
from orchestrator.config.planned import check_planned, warn_unplanned
from orchestrator.config.policies import (
    NO_POLICIES,
    POLICIES,
    Policies,
    build_engine,
    read_policies,
    without_price,
)
from orchestrator.errors import ConfigError
from orchestrator.observe.tracing import check_tracing
from orchestrator.observe.tracking import GuardedTracker, Tracker
from orchestrator.protocols import EngineConfig, HasWeights, Task
from orchestrator.search.account import Limits
from orchestrator.search.strategy import Strategy, knows_answers
from orchestrator.storage.inputs import Inputs
from orchestrator.storage.run_directory import check_place
from orchestrator.types import ENGINE

NAMED_GROUPS = ("strategy", "task", "engine", "verifier")
LOADED_GROUPS = ("engine", "verifier", "cluster")


@dataclass(frozen=True)
class Plan:
    """A composed configuration, validated: nothing is loaded and nothing is written yet."""

    plain: Mapping[str, Any]
    names: Mapping[str, str]
    settings: RunSettings
    limits: Limits
    range: Range
    task: Task
    strategy: Strategy
    engine: EngineConfig
    verifier: AnyVerifierConfig
    cluster: Cluster
    tracker: Tracker
    run_dir: Path
    overrides: Sequence[str]
    calibration: Calibration | None = None
    allocator: Rounds | Uniform = UNIFORM
    others: Policies = NO_POLICIES

    @property
    def rounds(self) -> Rounds | None:
        """How samples are granted across problems; None where every problem has the budget."""
        return self.allocator if isinstance(self.allocator, Rounds) else None

    @property
    def num_problems(self) -> int:
        """The number of problems in the range."""
        rest = self.task.num_problems - self.range.offset
        return rest if self.range.limit is None else min(self.range.limit, rest)

    @property
    def knows_answers(self) -> bool:
        """Whether the search uses the reference answers: the figures are then an upper bound, and say so."""
        return self.verifier.knows_answers or knows_answers(self.strategy)

    @property
    def policies(self) -> Mapping[str, EngineConfig]:
        """The engines by name, as a cluster takes them."""
        return asked_policies({ENGINE: self.engine, **self.others.configs}, self.verifier)

    @property
    def references(self) -> Mapping[str, str]:
        """The answers by problem id, for a verifier that may see them; none for any other."""
        if not self.verifier.knows_answers:
            return {}
        return {p.id: p.answer for p in self.task.problems(self.range.offset, self.range.limit)}

    @property
    def inputs(self) -> Inputs:
        """What must be unchanged when the run resumes. Reads the models' files."""
        configs: dict[str, object] = {"engine": self.engine, "verifier": self.verifier}
        configs |= {f"{POLICIES}.{name}": config for name, config in self.others.configs.items()}
        models = {group: c.digest() for group, c in configs.items() if isinstance(c, HasWeights)}
        problems = self.task.problems(self.range.offset, self.range.limit)
        return Inputs.of(problems, self.plain, models)

    @property
    def model_key(self) -> str:
        """A text that is equal for plans that can share their replicas."""
        groups = {**self.plain, "verifier": _without_calibration(self.plain["verifier"])}
        groups["engine"] = without_price(self.plain["engine"])
        others = [without_price(self.plain[POLICIES][name]) for name in self.others.configs]
        loaded = [groups[group] for group in LOADED_GROUPS]
        return json.dumps([loaded, list(self.others.configs), others], sort_keys=True)


def make_plan(config: DictConfig, names: Mapping[str, str], run_dir: str, overrides: Sequence[str]) -> Plan:
    """Return a configuration's plan, validated as far as possible without a model. Raises ConfigError."""
    is_resumed = config.get("resume") is True
    plain = as_plain(config, kept_of(Path(run_dir), overrides) if is_resumed else NOTHING_KEPT)
    settings = read_settings(plain)
    check_tracing(settings.tracing)
    limits = read_limits(plain)
    task: Task = build_task(plain["task"])
    strategy: Strategy = build_node(plain["strategy"], "strategy")
    allocator: Rounds | Uniform = build_node(plain["allocator"], "allocator")
    check_allocator(allocator, strategy, plain["strategy"], settings.budget)
    calibration = read_calibration(plain["verifier"])
    verifier: AnyVerifierConfig = build_node(_without_calibration(plain["verifier"]), "verifier")
    engine = build_engine(plain["engine"])
    others = read_policies(plain, limits)
    check_policies(verifier, others.names, "verifier")
    verifier = others.resolved(verifier)
    check_together(names, task, strategy, engine, verifier, others)
    asked_policies({ENGINE: engine, **others.configs}, verifier)
    plan = Plan(
        plain=plain,
        names=names,
        settings=settings,
        limits=limits,
        range=read_range(plain["task"], task.num_problems),
        task=task,
        strategy=strategy,
        engine=engine,
        verifier=verifier,
        calibration=calibration.calibration if calibration else None,
        cluster=build_node(plain["cluster"], "cluster"),
        tracker=GuardedTracker(build_node(plain["tracker"], "tracker")),
        run_dir=check_place(run_dir),
        overrides=overrides,
        allocator=allocator,
        others=others,
    )
    if calibration is not None:
        _check_calibration(plan, calibration)
    check_planned(plain["strategy"], settings.budget)
    warn_unplanned(plain["strategy"])
    return plan


def _without_calibration(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "calibration"}


def _check_calibration(plan: Plan, calibration: CalibrationFile) -> None:
    if plan.verifier.readout is None:
        raise ConfigError("verifier.calibration", calibration.verifier_name, "needs a verifier; choose one")
    digest = plan.verifier.digest() if isinstance(plan.verifier, HasWeights) else None
    check_calibration(calibration, plan.plain, digest, plan.num_problems)


def plan_of(config: DictConfig) -> Plan:
    """Return the plan of a configuration that Hydra has just composed."""
    hydra = HydraConfig.get()
    # Under another sweeper Hydra chooses a point's folder.
    run_dir = hydra.runtime.output_dir if hydra.mode == RunMode.MULTIRUN else config.run_dir
    names = {group: str(hydra.runtime.choices[group]) for group in NAMED_GROUPS}
    return make_plan(config, names, str(run_dir), list(hydra.overrides.task))
