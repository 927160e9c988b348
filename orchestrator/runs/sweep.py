"""A sweep: its points, all composed and validated first, then run in turn on replicas that stay loaded."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from orchestrator.config.command_line import check_choices, quoted, with_open_keys
from orchestrator.config.compose import known_keys, only_composed
from orchestrator.config.explain import explain
from orchestrator.config.flags import kept_flags, split_flags
from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.observe.progress import sweep_table
from orchestrator.runs.execution import Status
from orchestrator.runs.points import Point, expand, shared
from orchestrator.storage.folders import safe_names
from orchestrator.storage.plain_files import check_below
from orchestrator.storage.run_directory import claimed
from orchestrator.storage.run_files import SUMMARY, sound_summary
from orchestrator.storage.standing import stopped
from orchestrator.storage.sweep_index import SweepIndex, read_index
from orchestrator.streams import write_error
from orchestrator.terminal import complain, printable, program, shell_word

_ENDS = (Status.INTERRUPTED, Status.TERMINATED)
ModelsOf = Callable[[DictConfig], str]


@dataclass(frozen=True, slots=True)
class PlannedPoint:
    """A point with its folder, relative to the sweep's, and the models that it needs."""

    point: Point
    folder: str
    models: str
    is_ours: bool = True  # the folder is named after the overrides
    is_dry: bool = False


@dataclass(frozen=True, slots=True)
class RefusedPoint:
    """A point that cannot be run, with what is wrong with it in one line."""

    point: Point
    mistake: str


Outcome = PlannedPoint | RefusedPoint


@dataclass(frozen=True, slots=True)
class Sweep:
    """A planned sweep; ``outcomes`` is in the order of the combinations."""

    folder: Path
    flags: tuple[str, ...]
    overrides: tuple[str, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def planned(self) -> list[PlannedPoint]:
        return [o for o in self.outcomes if isinstance(o, PlannedPoint)]

    @property
    def in_order(self) -> list[PlannedPoint]:
        """The planned points in the order in which they run: points that share models are consecutive."""
        models = list(dict.fromkeys(p.models for p in self.planned))
        return sorted(self.planned, key=lambda p: models.index(p.models))

    @property
    def mistakes(self) -> dict[str, list[Point]]:
        """Each mistake, with the points that have it."""
        found: dict[str, list[Point]] = {}
        for outcome in self.outcomes:
            if isinstance(outcome, RefusedPoint):
                found.setdefault(outcome.mistake, []).append(outcome.point)
        return found

    def summary_of(self, planned: PlannedPoint) -> Path:
        return self.folder / planned.folder / SUMMARY

    def arguments(self, planned: PlannedPoint) -> list[str]:
        """Return the command line of one point as a run."""
        kept = [o for o in planned.point.overrides if not o.startswith("run_dir=")]
        place = quoted(f"run_dir={self.folder / planned.folder}")
        return [*self.flags, *kept, *_numbered(planned.point), place]


def _numbered(point: Point) -> list[str]:
    return [f"hydra.job.num={point.number}", f"hydra.job.id={point.number}"]


def plan_sweep(arguments: Sequence[str], models_of: ModelsOf) -> Sweep:
    """Compose and validate every point before the first one runs.

    ``models_of`` names the models that a configuration needs, and raises what its run would raise. Raises
    ConfigError and Hydra's errors for mistakes in the command line as a whole.
    """
    flags, overrides = split_flags(arguments)
    check_choices(shared(overrides))

    def plan(config: DictConfig) -> tuple[Path, list[Outcome]]:
        chosen = HydraConfig.get()
        folder, config_name = Path(str(chosen.sweep.dir)), str(chosen.job.config_name)
        of_file = [f"{key}={value}" for key, value in (chosen.sweeper.params or {}).items()]
        points = expand([*with_open_keys(of_file), *overrides], GlobalHydra.instance().config_loader())
        return folder, [_plan_point(point, config_name, models_of, flags) for point in points]

    folder, outcomes = only_composed([*flags, *shared(overrides)], plan)
    named = _named(outcomes, {str(entry["folder"]) for entry in read_index(folder)})
    return Sweep(folder, tuple(flags), tuple(overrides), tuple(_without_twins(named)))


def _plan_point(point: Point, config_name: str, models_of: ModelsOf, flags: Sequence[str]) -> Outcome:
    try:
        check_choices(point.overrides)
        config = compose(config_name, [*point.overrides, *_numbered(point)], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        folder, by_overrides = str(config.hydra.sweep.subdir), str(config.hydra.job.override_dirname)
        with open_dict(config):
            config.pop("hydra")
        is_ours, is_dry = folder == by_overrides, bool(config.get("dry_run"))
        return PlannedPoint(point, folder, models_of(config), is_ours, is_dry)
    except (MurmurationError, HydraException, OmegaConfBaseException) as mistake:
        return RefusedPoint(point, explain(mistake, known_keys([*flags, *point.overrides]), point.overrides))


def _named(outcomes: Sequence[Outcome], earlier: Collection[str]) -> list[Outcome]:
    """Name folders as the file system requires; those of an earlier part of the sweep stay."""
    planned = [o for o in outcomes if isinstance(o, PlannedPoint)]
    others = {p.folder for p in planned if not p.is_ours}
    before = [p.folder for p in planned]
    names = dict(zip(before, safe_names(before, {*earlier, *others}), strict=True))
    return [replace(o, folder=names[o.folder]) if isinstance(o, PlannedPoint) else o for o in outcomes]


def _without_twins(outcomes: Iterable[Outcome]) -> Iterable[Outcome]:
    """Yield the outcomes, with a second point in the same folder refused."""
    taken: set[str] = set()
    for outcome in outcomes:
        folder = outcome.folder if isinstance(outcome, PlannedPoint) else None
        if folder in taken:
            mistake = f"hydra.sweep.subdir={folder}: another point has this folder"
            yield RefusedPoint(outcome.point, mistake)
        else:
            yield outcome
        if folder is not None:
            taken.add(folder)


def run_sweep(
    sweep: Sweep,
    run: Callable[[list[str]], Status],
    console: Console,
    interrupted: Callable[[], Status | None] = lambda: None,
) -> Status:
    """Run every valid point, even if others fail; return the worst status, refused points included.

    ``run`` takes a point's command line; what it raises ends that point only. An interruption ends the sweep:
    a point reports it by its status, or ``interrupted`` does if the point still finished. ``points.json`` in
    the folder records the progress; a dry run of all points writes nothing. Raises ConfigError if another
    process runs this sweep.
    """
    _report_mistakes(sweep)
    statuses = [Status.BAD_CONFIGURATION if sweep.mistakes else Status.FINISHED]
    if all(p.is_dry for p in sweep.planned):
        return max([*statuses, *(status for _, status in _each(sweep, run, console, interrupted))])
    with claimed(sweep.folder) as place:
        index, ended = _open_index(sweep), list[PlannedPoint]()
        try:
            # Where the folder is gone, the next point would make a new one.
            for p, status in _each(sweep, run, console, interrupted, place.check):
                statuses.append(status)
                if p is None:
                    break
                place.check()
                if not p.is_dry:
                    index.record(p.point.overrides, folder=p.folder, status=status)
                if sweep.summary_of(p).exists():
                    ended.append(p)
            statuses += _missing(sweep, ended)
        except OSError as failure:
            complain(stopped(failure, sweep.folder))
            statuses.append(Status.SOME_ERRORS)
        _conclude(sweep, console, interrupted=any(status in _ENDS for status in statuses))
    return max(statuses)


def _each(
    sweep: Sweep,
    run: Callable[[list[str]], Status],
    console: Console,
    interrupted: Callable[[], Status | None],
    check: Callable[[], None] = lambda: None,
) -> Iterator[tuple[PlannedPoint | None, Status]]:
    """Run the points in turn, after ``check``, and yield each with its status.

    An interruption is the last: the status of its point, or without a point that of a signal between two.
    """
    for number, p in enumerate(sweep.in_order, 1):
        if (signalled := interrupted()) is not None:
            yield None, signalled
            return
        check()
        console.print(f"[{number}/{len(sweep.in_order)}] {p.point.name}", markup=False, highlight=False)
        yield p, (status := _run_one(sweep, p, run))
        if status in _ENDS:
            return


def _report_mistakes(sweep: Sweep) -> None:
    """Print one line for each mistake, however many points have it."""
    for mistake, points in sweep.mistakes.items():
        if len(points) == len(sweep.outcomes):
            complain(mistake)
        else:
            others = f" (and {len(points) - 1} other points)" if len(points) > 1 else ""
            complain(f"[{points[0].name}] {mistake}{others}")


def _open_index(sweep: Sweep) -> SweepIndex:
    """Open the index with an entry for every point: refused ones have ended, others keep their status."""
    index = SweepIndex(sweep.folder, [*kept_flags(sweep.flags), *sweep.overrides])
    for outcome in sweep.outcomes:
        overrides = outcome.point.overrides
        if isinstance(outcome, RefusedPoint):
            index.record(overrides, status=Status.BAD_CONFIGURATION, mistake=outcome.mistake)
        else:
            index.record(overrides, folder=outcome.folder, status=index.status_of(outcome.folder))
    return index


def _run_one(sweep: Sweep, planned: PlannedPoint, run: Callable[[list[str]], Status]) -> Status:
    point = planned.point
    try:
        check_below(sweep.folder, planned.folder)
        return run(sweep.arguments(planned))
    except ConfigError as mistake:
        complain(f"[{point.name}] {mistake}")
        return Status.BAD_CONFIGURATION
    except KeyboardInterrupt:  # while models were loaded, or after the last problem
        return Status.INTERRUPTED
    except SystemExit as stop:
        if stop.code != Status.TERMINATED:
            raise
        return Status.TERMINATED
    except Exception as failure:  # noqa: BLE001 - a bug in one point must not cost hours of others
        write_error(printable(traceback.format_exc().rstrip()))
        complain(f"[{point.name}] {type(failure).__name__}: {failure}")
        return Status.SOME_ERRORS


def _missing(sweep: Sweep, ended: Iterable[PlannedPoint]) -> list[Status]:
    """Print a line for each point whose results went away while others ran; return a status for each."""
    gone = [p for p in ended if not sweep.summary_of(p).exists()]
    for p in gone:
        folder = sweep.folder / p.folder
        complain(f"[{p.point.name}] {folder} was deleted or moved after its point had ended")
    return [Status.SOME_ERRORS] * len(gone)


def _conclude(sweep: Sweep, console: Console, *, interrupted: bool) -> None:
    """Print the table of all points so far, in the order of the combinations, and how to resume."""
    summaries = {p.point: sound_summary(sweep.summary_of(p)) for p in sweep.planned}
    rows = [(point.varied, summary) for point, summary in summaries.items() if summary is not None]
    if rows:
        console.print(sweep_table(rows))
    console.print(f"sweep: {sweep.folder}", soft_wrap=True, markup=False, highlight=False)
    if interrupted:
        again = shell_word(f"resume={sweep.folder}")
        console.print(f"interrupted; resume with: {program()} {again}", soft_wrap=True, markup=False)
