"""Run a search, or a sweep of them: ``python run.py --help``."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from orchestrator.command_line import (
    check_choices,
    complain,
    continued_command,
    folder_names,
    is_sweep,
    with_open_keys,
)
from orchestrator.composition import known_keys, with_config
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
from orchestrator.journal import Journals
from orchestrator.limits import Limits
from orchestrator.oracle import LocalVerifierConfig
from orchestrator.pairs import check_language, check_params, check_readout
from orchestrator.progress import summary_table
from orchestrator.protocols import Strategy, Task, Tracker, Verifier
from orchestrator.results import SUMMARY
from orchestrator.rundir import Earlier, check_place, claimed, open_run_dir, package_versions
from orchestrator.sweep import plan_sweep, run_sweep
from orchestrator.tracking import GuardedTracker

if TYPE_CHECKING:
    from actors.pool import Pool

from actors.configs import EngineConfig, VerifierConfig
from actors.placement import ClusterConfig

AnyVerifierConfig = VerifierConfig | LocalVerifierConfig
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
    verifier: AnyVerifierConfig
    cluster: ClusterConfig
    tracker: Tracker
    run_dir: Path
    overrides: Sequence[str]

    @property
    def num_problems(self) -> int:
        rest = self.task.num_problems - self.range.offset
        return rest if self.range.limit is None else min(self.range.limit, rest)

    @property
    def knows_answers(self) -> bool:
        """Whether the verifier is an oracle: the figures are then an upper bound, and say so."""
        return isinstance(self.verifier, LocalVerifierConfig) and self.verifier.knows_answers

    @property
    def verifier_factory(self) -> Callable[[], Any] | None:
        """What a verifier's replica makes; None where there is none, or where it runs here."""
        if isinstance(self.verifier, LocalVerifierConfig) or self.verifier.readout is None:
            return None
        return self.verifier.build

    @property
    def model_key(self) -> str:
        """Two plans with equal keys can share their replicas."""
        return json.dumps([self.plain[group] for group in LOADED_GROUPS], sort_keys=True)


def make_plan(config: DictConfig, names: Mapping[str, str], run_dir: str, overrides: Sequence[str]) -> Plan:
    """Validate everything that can be wrong before a model loads. Raises ConfigError."""
    plain = as_plain(config)
    settings = read_settings(plain)
    limits = read_limits(plain)
    task: Task = build_node(plain["task"], "task", leave_out=("offset", "limit"))
    strategy: Strategy = build_node(plain["strategy"], "strategy")
    verifier: AnyVerifierConfig = build_node(plain["verifier"], "verifier")
    check_readout(names, strategy, verifier.readout)
    engine: EngineConfig = build_node(plain["engine"], "engine")
    check_params(names, strategy, engine.takes)
    check_language(names, plain, strategy)
    return Plan(
        plain=plain,
        names=names,
        settings=settings,
        limits=limits,
        range=read_range(plain["task"], task.num_problems),
        task=task,
        strategy=strategy,
        engine=engine,
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

        with console.status("starting Ray and loading models"):
            start_ray(plan.cluster)
            signal.signal(signal.SIGTERM, terminate)  # Ray has put a handler of its own there
            self._pool = self.runner.run(Pool.start(plan.cluster, plan.engine.build, plan.verifier_factory))
        self._key = plan.model_key
        return self._pool

    def close_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            self.runner.run(pool.close())

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
    from actors.survey import survey

    num, budget = plan.num_problems, plan.settings.budget
    most = num * budget * int(plan.plain["task"]["max_tokens"])
    console.print(
        f"placement: {survey(plan.cluster, plan.engine.build, plan.verifier_factory)}", soft_wrap=True
    )
    console.print(f"cost: {num} problems x budget {budget}: at most about {most:,} tokens", soft_wrap=True)


def run_point(plan: Plan, models: Models) -> Status:
    """One run of one plan, with files and all."""
    if plan.settings.dry_run:
        describe(plan)
        return Status.FINISHED
    with claimed(plan.run_dir):
        earlier = open_run_dir(plan.run_dir, plan.plain, plan.overrides, resume=plan.settings.resume)
        if len(earlier.problem_ids) == plan.num_problems and (plan.run_dir / SUMMARY).exists():
            console.print(summary_table(json.loads((plan.run_dir / SUMMARY).read_text(encoding="utf-8"))))
            return Status.FINISHED
        return make_run(plan, models.of(plan), earlier).execute(plan.plain, models.runner)


def verifier_of(plan: Plan, pool: Pool) -> Verifier | None:
    """The replicas' verifier, or one that runs here: only that may see the reference answers."""
    if not isinstance(plan.verifier, LocalVerifierConfig):
        return pool.verifier
    problems = plan.task.problems(plan.range.offset, plan.range.limit) if plan.knows_answers else ()
    return plan.verifier.build_here(plan.task, {p.id: p.answer for p in problems})


def make_run(plan: Plan, pool: Pool, earlier: Earlier) -> Run:
    """The run of a plan on replicas that are ready."""
    before = pool.stats()
    controller = Controller(
        strategy=plan.strategy,
        engine=pool.engine,
        verifier=verifier_of(plan, pool),
        task=plan.task,
        seed=plan.settings.seed,
        limits=plan.limits,
        concurrency=plan.settings.concurrency,
        journals=Journals(plan.run_dir, keep=plan.settings.keep_journal),
    )
    labels = {
        **{group: plan.names[group] for group in NAMED_GROUPS},
        "budget": plan.settings.budget,
        "seed": plan.settings.seed,
        "offset": plan.range.offset,
        "limit": plan.range.limit,
        "replicas": pool.replicas,
        "batch_invariant": pool.engine.batch_invariant,
        **({"oracle": True} if plan.knows_answers else {}),
        "versions": package_versions(),
    }
    return Run(
        run_dir=plan.run_dir,
        controller=controller,
        range=plan.range,
        num_problems=plan.num_problems,
        labels=labels,
        earlier=earlier,
        tracker=plan.tracker,
        overhead=pool.overhead_of,
        console=console,
        num_replicas=lambda: len(pool.pids()),
        figures=lambda: {"routing": pool.routing_since(before)},
    )


def plan_of(config: DictConfig) -> Plan:
    """The plan of a configuration that Hydra has just composed."""
    hydra = HydraConfig.get()
    # Under a sweeper that is not ours a point's folder is Hydra's affair.
    run_dir = hydra.runtime.output_dir if hydra.mode == RunMode.MULTIRUN else config.run_dir
    names = {group: str(hydra.runtime.choices[group]) for group in NAMED_GROUPS}
    return make_plan(config, names, str(run_dir), list(hydra.overrides.task))


def run_command(arguments: Sequence[str], models: Models) -> Status:
    """The run that a command line stands for, from composition to its files, with every mistake told."""

    def run(config: DictConfig) -> Status:
        plan = plan_of(config)
        try:
            return run_point(plan, models)
        except OSError as failure:
            complain(f"{failure}; what was finished is in {plan.run_dir}")
            return Status.SOME_ERRORS

    try:
        check_choices(arguments)
        return max(with_config(arguments, run), default=Status.FINISHED)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:  # before the first problem
        complain(explain(mistake, known_keys(arguments), arguments))
    except OSError as failure:
        complain(f"run_dir: {failure}")
    return Status.BAD_CONFIGURATION


def sweep_command(arguments: Sequence[str], models: Models) -> Status:
    """The sweep that a command line stands for."""
    try:
        sweep = plan_sweep(arguments, lambda config: plan_of(config).model_key)
        return run_sweep(sweep, lambda point: run_command(point, models), console)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:  # of the sweep as a whole
        complain(explain(mistake, known_keys(arguments), arguments))
    except OSError as failure:
        complain(f"run_dir: {failure}")
    return Status.BAD_CONFIGURATION


def main() -> int:
    """Compose, run, and return the exit status: the worst one of a sweep."""
    models = Models()
    try:
        signal.signal(signal.SIGTERM, terminate)
        arguments = folder_names(continued_command(with_open_keys(sys.argv[1:])))
        return (sweep_command if is_sweep(arguments) else run_command)(arguments, models)
    except (ConfigError, HydraException) as mistake:
        complain(explain(mistake, (), ()))
        return Status.BAD_CONFIGURATION
    except KeyboardInterrupt:
        complain("interrupted before the search began")
        return Status.INTERRUPTED
    finally:
        models.close()


if __name__ == "__main__":
    sys.exit(main())
