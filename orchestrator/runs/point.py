"""One point: a plan, its replicas, and the run of both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from orchestrator.backend import Backend
from orchestrator.cassettes.playing import played
from orchestrator.config.files import TARGET
from orchestrator.config.plan import NAMED_GROUPS, Plan
from orchestrator.config.policies import POLICIES
from orchestrator.errors import ConfigError
from orchestrator.observe.events import recorded, run_names
from orchestrator.observe.progress import run_console, summary_table
from orchestrator.observe.tracing import traced
from orchestrator.observe.tracking import GuardedTracker, Tracker, Trackers
from orchestrator.runs.execution import Run, Status, heed_signals
from orchestrator.runs.models import Models, verifier_of
from orchestrator.search.budgets import independent_knob_of
from orchestrator.search.controller import Controller
from orchestrator.storage.hydra_record import write_record
from orchestrator.storage.inputs import check_inputs
from orchestrator.storage.journal import Journals
from orchestrator.storage.result_lines import granted_of
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_directory import Earlier, claimed, has_begun, open_run_dir, package_versions
from orchestrator.storage.samples import StoredLines
from orchestrator.storage.silence import Lengths
from orchestrator.storage.totals import finished_summary
from orchestrator.stored.engine import StoredEngineConfig
from orchestrator.types import Granted


def run_point(plan: Plan, models: Models, record: Mapping[str, str]) -> Status:
    """Run one plan and write its files; ``record`` is Hydra's record (``hydra_record``)."""
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
            growing=growing_keys(plan),
        )
        write_record(plan.run_dir, record)
        summary = finished_summary(plan.run_dir, earlier.totals)
        if summary is not None and len(earlier.problem_ids) == plan.num_problems:
            run_console().print(summary_table(summary))
            return Status.FINISHED
        with (
            recorded(plan.run_dir, plan.settings.log_level),
            traced(plan.run_dir, plan.settings.tracing),
            played(plan, models.of) as (backend, counts),
        ):
            run = make_run(plan, backend, earlier)
            if counts is not None:
                run.more = lambda: {"cassette": counts.summary(plan.others.prices)}
            place.check()
            try:
                return run.execute(plan.plain, models.runner)
            finally:
                models.caught = run.caught
                if run.controller.gate.broken is not None:
                    models.drop()


def describe(plan: Plan) -> None:
    """Print what ``dry_run=true`` shows: configuration, placement, and the highest possible cost."""
    console = run_console()
    console.print(
        OmegaConf.to_yaml(OmegaConf.create(dict(plan.plain))), end="", markup=False, highlight=False
    )
    num, budget = plan.num_problems, plan.settings.budget
    most = num * budget * int(plan.plain["task"]["max_tokens"])
    placement = plan.cluster.survey(plan.policies, plan.verifier.of_replicas)
    console.print(f"placement: {placement}", soft_wrap=True)
    console.print(f"cost: {num} problems x budget {budget}: at most about {most:,} tokens", soft_wrap=True)


def growing_keys(plan: Plan) -> tuple[str, ...]:
    """Return the keys that may be larger when a run resumes: what the budget of independent samples sets.

    None of an import: its engine serves the samples of its own directory, and has no others.
    """
    source = Path(plan.engine.path) if isinstance(plan.engine, StoredEngineConfig) else None
    serves_itself = source is not None and source.absolute() == plan.run_dir.absolute()
    knob = None if plan.rounds is not None or serves_itself else independent_knob_of(plan.strategy)
    return () if knob is None else ("budget", f"strategy.{knob}")


def check_earlier(plan: Plan, earlier: Earlier) -> None:
    """Raise ConfigError if an earlier part had other problems or models."""
    check_inputs(plan.run_dir, plan.inputs, has_begun=has_begun(plan.run_dir))
    check_ids(plan, earlier)


def check_ids(plan: Plan, earlier: Earlier) -> None:
    """Raise ConfigError if there are results of problems that the run does not have: no later check would."""
    if not earlier.problem_ids:
        return
    own = {problem.id for problem in plan.task.problems(plan.range.offset, plan.range.limit)}
    for problem_id in sorted(earlier.problem_ids - own)[:1]:
        allowed = f"its results.jsonl holds problem {problem_id}, which this run does not have: move it away"
        raise ConfigError("run_dir", plan.run_dir, allowed)


def make_run(plan: Plan, backend: Backend, earlier: Earlier) -> Run:
    """Return the run of a plan on replicas that are ready."""
    controller = Controller(
        strategy=plan.strategy,
        engine=backend.engine,
        verifier=verifier_of(plan, backend),
        task=plan.task,
        seed=plan.settings.seed,
        limits=plan.limits,
        concurrency=plan.settings.concurrency,
        journals=Journals(plan.run_dir, keep=plan.settings.keep_journal),
        drawn=StoredLines(plan.run_dir),
        rounds=plan.rounds,
        budget=plan.settings.budget,
        offset=plan.range.offset,
        finished=_granted_of(plan, earlier),
        policies=plan.others.engines(backend.policies),
        prices=plan.others.prices,
    )
    return Run(
        run_dir=plan.run_dir,
        controller=controller,
        range=plan.range,
        num_problems=plan.num_problems,
        labels=_labels(plan, backend),
        earlier=earlier,
        tracker=_tracker(plan, backend),
        backend=backend,
        console=run_console(),
        grace_s=plan.cluster.grace_s,
        lengths=Lengths.from_config(plan.plain),
    )


def _granted_of(plan: Plan, earlier: Earlier) -> dict[str, Granted]:
    """Return by problem what an earlier part of a run was granted: unfinished ones bid beside it."""
    if plan.rounds is None or not earlier.problem_ids:
        return {}
    return {line["problem_id"]: granted_of(line) for line in stream_results(plan.run_dir)}


def _labels(plan: Plan, backend: Backend) -> dict[str, Any]:
    """Return the entries of summary.json that are known before the first problem."""
    return {
        **{group: plan.names[group] for group in NAMED_GROUPS},
        "budget": plan.settings.budget,
        "seed": plan.settings.seed,
        "offset": plan.range.offset,
        "limit": plan.range.limit,
        "replicas": backend.replicas,
        "batch_invariant": all(engine.info.batch_invariant for engine in backend.policies.values())
        and (backend.verifier is None or backend.verifier.info.batch_invariant),
        "sampler": backend.engine.info.sampler,
        **_policies_label(plan),
        **_seeds_label(backend),
        **({"template": notes} if (notes := backend.template_notes()) else {}),
        **({"oracle": True} if plan.knows_answers else {}),
        "versions": package_versions(),
    }


def _policies_label(plan: Plan) -> dict[str, dict[str, str]]:
    """Return the model of each further policy, or the policy that it is another name of."""
    nodes = plan.plain.get(POLICIES, {})
    models = {name: str(nodes[name].get("model", nodes[name][TARGET])) for name in plan.others.configs}
    found = models | dict(plan.others.aliases)
    return {POLICIES: found} if found else {}


def _seeds_label(backend: Backend) -> dict[str, bool]:
    """Return whether the policy's server honours seeds, where that was found out."""
    honoured = backend.engine.info.seeds_honoured
    return {} if honoured is None else {"seeds_honoured": honoured}


def _tracker(plan: Plan, backend: Backend) -> Tracker:
    """Return the plan's tracker, together with those of the backend."""
    names = run_names(plan.run_dir).values()
    tags = {"run": "/".join(name for name in names if name), "strategy": plan.names["strategy"]}
    others = backend.trackers(plan.num_problems, tags)
    return Trackers((plan.tracker, *map(GuardedTracker, others))) if others else plan.tracker
