"""Run a search, or a sweep of them: ``python run.py --help``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from orchestrator.arguments import without_comment
from orchestrator.command_line import (
    check_choices,
    check_flags,
    continued_command,
    folder_names,
    is_sweep,
    searched,
    with_open_keys,
)
from orchestrator.composition import folders_claimed, known_keys, with_config
from orchestrator.controller import Controller
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.events import StderrHandler, ids_of, recorded
from orchestrator.execution import BY_SIGNAL, TERMINATING, Run, Status, heed_signals, ignore_signals
from orchestrator.explain import explain
from orchestrator.flags import kept_flags
from orchestrator.hydra_record import hydra_record, write_record
from orchestrator.inputs import check_inputs
from orchestrator.journal import Journals
from orchestrator.oracle import LocalVerifierConfig
from orchestrator.plan import NAMED_GROUPS, Plan, plan_of
from orchestrator.progress import stdout_console, summary_table
from orchestrator.protocols import Verifier
from orchestrator.results import finished_summary
from orchestrator.rundir import Earlier, claimed, has_begun, open_run_dir, package_versions
from orchestrator.secret_keys import check_no_secrets
from orchestrator.silence import Lengths
from orchestrator.standing import stopped
from orchestrator.stopping import unless_stopped
from orchestrator.streams import flush_streams, raise_file_limit
from orchestrator.sweep import plan_sweep, run_sweep
from orchestrator.terminal import complain
from orchestrator.tracking import GuardedTracker, Tracker, Trackers
from orchestrator.warm import Warm

if TYPE_CHECKING:
    from actors.pool import Pool

console = stdout_console()


class Models:
    """The replicas of the last point, kept warm for the next one that needs the same."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.caught: Sequence[signal.Signals] = ()  # in the last point
        self._warm: Warm[Pool] = Warm(lambda pool: self.runner.run(pool.close()))

    def of(self, plan: Plan) -> Pool:
        """A pool that is ready. Raises ConfigError where the cluster cannot hold it."""
        return self._warm.of(plan.model_key, lambda: self._start(plan))

    def _start(self, plan: Plan) -> Pool:
        # Ray and its children are imported here, so that --help and a mistake in a key answer at once.
        from actors.cluster import start_ray, stop_ray
        from actors.pool import Pool

        with console.status("starting Ray and loading models"):
            try:
                start_ray(plan.cluster)
                starting = Pool.start(plan.cluster, plan.engine.build, plan.verifier_factory)
                pool = self.runner.run(unless_stopped(starting, TERMINATING))
            except BaseException as failure:
                stop_ray()
                if isinstance(failure, SystemExit):  # of Ray's own handler, with a status of Ray's own
                    raise SystemExit(Status.TERMINATED) from None
                raise
            heed_signals()  # Ray has put a handler of its own there
            if pool is None:
                raise SystemExit(Status.TERMINATED)
            return pool

    def drop(self) -> None:
        """Let go of replicas that are gone, and of a Ray that may be: the next point starts anew."""
        self._warm.close()
        from actors.cluster import stop_ray

        stop_ray()

    def interrupted(self) -> Status | None:
        """The status of the signal that came in the last point, however that ended."""
        return BY_SIGNAL[self.caught[0]] if self.caught else None

    def close(self) -> None:
        """End the replicas, and the Ray that was started for them."""
        if self._warm.close():
            from actors.cluster import stop_ray

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


def run_point(plan: Plan, models: Models, record: Mapping[str, str]) -> Status:
    """One run of one plan, with files and all; ``record`` is Hydra's own (``hydra_record``)."""
    if plan.settings.dry_run:
        describe(plan)
        return Status.FINISHED
    heed_signals()
    if (signalled := models.interrupted()) is not None:
        return signalled
    with claimed(plan.run_dir) as place:
        earlier = open_run_dir(
            plan.run_dir,
            plan.plain,
            plan.overrides,
            resume=plan.settings.resume,
            check=partial(check_earlier, plan),
        )
        write_record(plan.run_dir, record)
        summary = finished_summary(plan.run_dir, earlier.totals)
        if summary is not None and len(earlier.problem_ids) == plan.num_problems:
            console.print(summary_table(summary))
            return Status.FINISHED
        with recorded(plan.run_dir, plan.settings.log_level):
            run = make_run(plan, models.of(plan), earlier)
            place.check()
            try:
                return run.execute(plan.plain, models.runner)
            finally:
                models.caught = run.caught
                if run.controller.gate.broken is not None:
                    models.drop()


def check_earlier(plan: Plan, earlier: Earlier) -> None:
    """Raise ConfigError where what an earlier part has left is of other problems or models."""
    check_inputs(plan.run_dir, plan.inputs, has_begun=has_begun(plan.run_dir))
    check_ids(plan, earlier)


def check_ids(plan: Plan, earlier: Earlier) -> None:
    """Raise ConfigError where the results are of other problems than the run's: nothing would tell later."""
    if not earlier.problem_ids:
        return
    own = {problem.id for problem in plan.task.problems(plan.range.offset, plan.range.limit)}
    for problem_id in sorted(earlier.problem_ids - own)[:1]:
        allowed = f"its results.jsonl holds problem {problem_id}, which this run has not: move it away"
        raise ConfigError("run_dir", plan.run_dir, allowed)


def verifier_of(plan: Plan, pool: Pool) -> Verifier | None:
    """The replicas' verifier, or one that runs here: only that may see the reference answers."""
    if not isinstance(plan.verifier, LocalVerifierConfig):
        return pool.verifier
    problems = plan.task.problems(plan.range.offset, plan.range.limit) if plan.knows_answers else ()
    return plan.verifier.build_here(plan.task, {p.id: p.answer for p in problems})


def make_run(plan: Plan, pool: Pool, earlier: Earlier) -> Run:
    """The run of a plan on replicas that are ready."""
    before, tokens_before = pool.stats(), pool.generated_tokens
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
        "batch_invariant": pool.engine.info.batch_invariant
        and (pool.verifier is None or pool.verifier.info.batch_invariant),
        "sampler": pool.engine.info.sampler,
        **({"template": notes} if (notes := pool.template_notes()) else {}),
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
        tracker=with_metrics(plan, pool),
        console=console,
        num_replicas=lambda: len(pool.pids()),
        num_tokens=lambda: pool.generated_tokens - tokens_before,
        grace_s=plan.cluster.grace_s,
        lengths=Lengths.of(plan.plain),
        figures=lambda: {"routing": pool.routing_since(before)},
    )


def with_metrics(plan: Plan, pool: Pool) -> Tracker:
    """The plan's tracker, and Ray's metrics beside it."""
    interval_s = plan.cluster.metrics_interval_s
    if interval_s is None:
        return plan.tracker
    from actors.metrics import RayMetrics

    ids = ids_of(plan.run_dir)
    tags = {"run": "/".join(name for name in ids.values() if name), "strategy": plan.names["strategy"]}
    metrics = RayMetrics(pool.fleets, plan.num_problems, tags, interval_s)
    return Trackers((plan.tracker, GuardedTracker(metrics)))


def run_command(arguments: Sequence[str], models: Models) -> Status:
    """The run that a command line stands for, from composition to its files, with every mistake told."""

    def run(config: DictConfig) -> Status:
        plan = plan_of(config)
        plan = replace(plan, overrides=[*kept_flags(arguments), *searched(arguments), *plan.overrides])
        try:
            return run_point(plan, models, hydra_record(config))
        except OSError as failure:
            complain(stopped(failure, plan.run_dir))
            return Status.SOME_ERRORS

    try:
        check_choices(arguments)
        return max(with_config(arguments, run), default=Status.FINISHED)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:  # before the first problem
        complain(explain(mistake, known_keys(arguments), arguments))
    except BrokenPipeError:  # what Hydra prints by itself (--help, --cfg) has lost its reader
        return Status.FINISHED
    except OSError as failure:
        complain(f"run_dir: {failure}")
    return Status.BAD_CONFIGURATION


def sweep_command(arguments: Sequence[str], models: Models) -> Status:
    """The sweep that a command line stands for."""
    try:
        sweep = plan_sweep(arguments, lambda config: plan_of(config).model_key)
        return run_sweep(sweep, lambda point: run_command(point, models), console, models.interrupted)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:  # of the sweep as a whole
        complain(explain(mistake, known_keys(arguments), arguments))
    except OSError as failure:
        complain(f"run_dir: {failure}")
    return Status.BAD_CONFIGURATION


def main() -> int:
    """Compose, run, and return the exit status: the worst one of a sweep."""
    logging.lastResort = StderrHandler()  # what is told before a run's own handlers are there
    models = Models()
    try:
        heed_signals()
        raise_file_limit()
        given = without_comment(sys.argv[1:])
        check_no_secrets(given)
        check_flags(given)
        arguments = folder_names(continued_command(with_open_keys(given)))
        with folders_claimed():
            return (sweep_command if is_sweep(arguments) else run_command)(arguments, models)
    except (MurmurationError, HydraException) as mistake:
        complain(explain(mistake, (), ()))
        return Status.BAD_CONFIGURATION
    except KeyboardInterrupt:
        complain("interrupted")
        return Status.INTERRUPTED
    except SystemExit as stop:
        if stop.code != Status.TERMINATED:
            raise
        complain("terminated")
        return Status.TERMINATED
    finally:
        ignore_signals()
        models.close()
        flush_streams()


if __name__ == "__main__":
    sys.exit(main())
