"""Run a search, or a sweep of them: ``python run.py --help``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from orchestrator.command_line import check_choices, continued_command, folder_names
from orchestrator.config import (
    Range,
    RunSettings,
    as_plain,
    build_node,
    read_limits,
    read_range,
    read_settings,
)
from orchestrator.controller import Controller
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.execution import Run, Status, terminate
from orchestrator.explain import explain
from orchestrator.limits import Limits
from orchestrator.progress import summary_table
from orchestrator.protocols import Strategy, Task, Tracker
from orchestrator.results import SUMMARY
from orchestrator.rundir import check_place, open_run_dir, package_versions
from orchestrator.tracking import GuardedTracker

if TYPE_CHECKING:
    from actors.pool import Pool

from actors.configs import EngineConfig, VerifierConfig
from actors.placement import ClusterConfig

NAMED_GROUPS = ("strategy", "task", "engine", "verifier")
LOADED_GROUPS = ("engine", "verifier", "cluster")
console = Console()


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
    verifier: VerifierConfig
    cluster: ClusterConfig
    tracker: Tracker
    run_dir: Path
    overrides: Sequence[str]

    @property
    def num_problems(self) -> int:
        rest = self.task.num_problems - self.range.offset
        return rest if self.range.limit is None else min(self.range.limit, rest)

    @property
    def model_key(self) -> str:
        """Two plans with equal keys can share their replicas."""
        return json.dumps([self.plain[group] for group in LOADED_GROUPS], sort_keys=True)


def check_pair(strategy_name: str, strategy: Strategy, verifier_name: str, verifier: VerifierConfig) -> None:
    """Raise ConfigError that names both keys when the verifier does not give what the strategy reads."""
    pair = f"strategy={strategy_name}"
    if not isinstance(strategy, Strategy):
        raise ConfigError("strategy", strategy_name, "must be a class with the members of protocols.Strategy")
    allowed = strategy.readouts
    if allowed and verifier.readout is None:
        raise ConfigError(
            "verifier", verifier_name, f"{pair} needs a verifier; choose one, or another strategy"
        )
    if allowed and verifier.readout not in allowed:
        reason = f"{pair} with its aggregation needs {' or '.join(allowed)}"
        raise ConfigError("verifier.readout", verifier.readout, reason)


def make_plan(config: DictConfig, names: Mapping[str, str], run_dir: str, overrides: Sequence[str]) -> Plan:
    """Validate everything that can be wrong before a model loads. Raises ConfigError."""
    plain = as_plain(config)
    settings = read_settings(plain)
    limits = read_limits(plain)
    task: Task = build_node(plain["task"], "task", leave_out=("offset", "limit"))
    strategy: Strategy = build_node(plain["strategy"], "strategy")
    verifier: VerifierConfig = build_node(plain["verifier"], "verifier")
    check_pair(names["strategy"], strategy, names["verifier"], verifier)
    return Plan(
        plain=plain,
        names=names,
        settings=settings,
        limits=limits,
        range=read_range(plain["task"], task.num_problems),
        task=task,
        strategy=strategy,
        engine=build_node(plain["engine"], "engine"),
        verifier=verifier,
        cluster=build_node(plain["cluster"], "cluster"),
        tracker=GuardedTracker(build_node(plain["tracker"], "tracker")),
        run_dir=check_place(run_dir),
        overrides=overrides,
    )


class Models:
    """The replicas of the last point, kept warm for the next one that needs the same."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self._pool: Pool | None = None
        self._key: str | None = None

    def of(self, plan: Plan) -> Pool:
        """A pool that is ready. Raises ConfigError where the cluster cannot hold it."""
        if self._pool is not None and self._key == plan.model_key:
            return self._pool
        self.close_pool()
        # Ray and its children are imported here, so that --help and a mistake in a key answer at once.
        from actors.cluster import start_ray
        from actors.pool import Pool

        verifier = None if plan.verifier.readout is None else plan.verifier.build
        with console.status("starting Ray and loading models"):
            start_ray(plan.cluster)
            signal.signal(signal.SIGTERM, terminate)  # Ray has put a handler of its own there
            self._pool = self.runner.run(Pool.start(plan.cluster, plan.engine.build, verifier))
        self._key = plan.model_key
        return self._pool

    def close_pool(self) -> None:
        if self._pool is not None:
            self.runner.run(self._pool.close())
            self._pool = None

    def close(self) -> None:
        """End the replicas, and the Ray that was started for them."""
        if self._pool is not None:
            from actors.cluster import stop_ray

            self.close_pool()
            stop_ray()
        self.runner.close()


def describe(plan: Plan) -> None:
    """What ``dry_run=true`` prints: configuration, placement, and the most that can be spent."""
    console.print(
        OmegaConf.to_yaml(OmegaConf.create(dict(plan.plain))), end="", markup=False, highlight=False
    )
    cluster, most = (
        plan.cluster,
        plan.num_problems * plan.settings.budget * int(plan.plain["task"]["max_tokens"]),
    )
    replicas = f"{cluster.engine_replicas} engine and {cluster.verifier_replicas} verifier replicas"
    place = cluster.address or os.environ.get("RAY_ADDRESS") or "a local Ray"
    console.print(f"placement: {replicas} on {place}")
    console.print(
        f"cost: {plan.num_problems} problems x budget {plan.settings.budget}: at most about {most:,} tokens"
    )


def run_point(plan: Plan, models: Models) -> Status:
    """One run of one plan, with files and all."""
    if plan.settings.dry_run:
        describe(plan)
        return Status.FINISHED
    done = open_run_dir(plan.run_dir, plan.plain, plan.overrides, resume=plan.settings.resume)
    if len(done) == plan.num_problems and (plan.run_dir / SUMMARY).exists():
        console.print(summary_table(json.loads((plan.run_dir / SUMMARY).read_text(encoding="utf-8"))))
        return Status.FINISHED
    pool = models.of(plan)
    controller = Controller(
        strategy=plan.strategy,
        engine=pool.engine,
        verifier=pool.verifier,
        task=plan.task,
        seed=plan.settings.seed,
        limits=plan.limits,
        concurrency=plan.settings.concurrency,
    )
    labels = {
        **{group: plan.names[group] for group in NAMED_GROUPS},
        "budget": plan.settings.budget,
        "seed": plan.settings.seed,
        "offset": plan.range.offset,
        "limit": plan.range.limit,
        "replicas": pool.replicas,
        "batch_invariant": pool.engine.batch_invariant,
        "versions": package_versions(),
    }
    run = Run(
        run_dir=plan.run_dir,
        controller=controller,
        range=plan.range,
        num_problems=plan.num_problems,
        labels=labels,
        done=done,
        tracker=plan.tracker,
        overhead=pool.overhead_of,
        console=console,
    )
    return run.execute(plan.plain, models.runner)


def _complain(text: str, overrides: Sequence[str] = ()) -> None:
    """One line, whatever a library wrote; in a sweep with the point that it is about."""
    about = f"[{' '.join(overrides)}] " if HydraConfig.initialized() and _is_sweep() else ""
    print(f"error: {about}{' '.join(text.split())}", file=sys.stderr)


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _known_keys(node: Any, prefix: str = "") -> list[str]:
    """Every dotted key of a composed configuration."""
    if not OmegaConf.is_dict(node):
        return []
    keys = [f"{prefix}{name}" for name in node]
    return keys + [k for name in node for k in _known_keys(node._get_node(name), f"{prefix}{name}.")]


def _default_keys() -> list[str]:
    with hydra.initialize(version_base="1.3", config_path="conf"):
        return _known_keys(hydra.compose("config"))


def main() -> int:
    """Compose, run, and return the exit status: the worst one of a sweep."""
    statuses = [Status.FINISHED]
    models = Models()

    @hydra.main(version_base="1.3", config_path="conf", config_name="config")
    def point(config: DictConfig) -> None:
        choices, run_dir = HydraConfig.get().runtime.choices, str(config.run_dir)
        if _is_sweep():  # a point has a folder of its own
            run_dir = HydraConfig.get().runtime.output_dir
        overrides = list(HydraConfig.get().overrides.task)
        try:
            plan = make_plan(config, {g: str(choices[g]) for g in NAMED_GROUPS}, run_dir, overrides)
            status = run_point(plan, models)
        except (MurmurationError, OmegaConfBaseException) as mistake:  # all before the first problem
            _complain(explain(mistake, (), ()), overrides)
            status = Status.BAD_CONFIGURATION
        except OSError as failure:
            _complain(f"{failure}; what was finished is in {run_dir}", overrides)
            status = Status.SOME_ERRORS
        statuses.append(status)
        if status in (Status.INTERRUPTED, Status.TERMINATED):
            raise SystemExit(status)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed with a traceback
    try:
        signal.signal(signal.SIGTERM, terminate)
        check_choices(sys.argv[1:])
        sys.argv[1:] = folder_names(continued_command(sys.argv[1:]))
        point()
    except (ConfigError, HydraException, OmegaConfBaseException) as mistake:
        _complain(explain(mistake, _default_keys(), sys.argv[1:]))
        statuses.append(Status.BAD_CONFIGURATION)
    except OSError as failure:
        _complain(f"run_dir: {failure}")
        statuses.append(Status.BAD_CONFIGURATION)
    except KeyboardInterrupt:
        _complain("interrupted before the search began")
        statuses.append(Status.INTERRUPTED)
    finally:
        models.close()
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
