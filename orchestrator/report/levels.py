"""Accuracy by the difficulty of a problem for the policy: fifths of the problems by the samples' pass rate.

Snell et al. 2024 (arXiv 2408.03314): which method is best at a cost depends on the difficulty of a problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean

from orchestrator.config.files import TARGET, shipped_strategies
from orchestrator.errors import ConfigError
from orchestrator.intervals import difficulty_levels
from orchestrator.report.measures import mean_by_problem
from orchestrator.report.runs import SavedRun
from orchestrator.report.settings import ReportPoint, Setting
from orchestrator.search.budgets import cut_by, independent_knob
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import SUMMARY, sound_summary

NUM_LEVELS = 5
Levels = Mapping[str, int]
"""From problem id to its level, 1 for the easiest."""


@dataclass(frozen=True, slots=True)
class Samples:
    """The source of the samples that estimate difficulty, and by problem the share of them that are right.

    ``seeds`` are those of their runs: independent samples with one of these seeds are partly the same ones.
    """

    source: str
    rates: Mapping[str, float]
    seeds: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Level:
    """A level, 1 for the easiest, with the number of its problems and the range of their pass rates."""

    number: int
    num_problems: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LevelRow:
    """One point: its accuracy on each level (None if it has no problem there), and where it is best.

    Points are compared with those of the same N and limits. ``is_circular``: its own samples are among those
    that difficulty was estimated from, which flatters it on easy problems and wrongs it on hard ones.
    """

    series: str
    label: str
    accuracies: tuple[float | None, ...]
    is_best: tuple[bool, ...]
    allowed: str
    is_circular: bool = False


@dataclass(frozen=True, slots=True)
class ByDifficulty:
    """The table of a setting; ``levels`` are those that have a problem."""

    source: str
    levels: tuple[Level, ...]
    rows: tuple[LevelRow, ...]


def read_samples(reference: Path) -> Samples:
    """Return the samples of a run directory. Raises ConfigError if it has no results."""
    rates = pass_rates(reference)
    seed = (sound_summary(reference / SUMMARY) or {}).get("seed")
    return Samples(f"run {reference.resolve().name}", rates, frozenset(() if seed is None else (seed,)))


def pass_rates(reference: Path) -> dict[str, float]:
    """Return by problem the share of right candidates in a run. Raises ConfigError if it has no results."""
    rates = {
        str(line["problem_id"]): sum(bool(c["correct"]) for c in line["candidates"]) / len(line["candidates"])
        for line in stream_results(reference)
        if line["candidates"]
    }
    if not rates:
        raise ConfigError("reference", reference, "must be the directory of a run with results")
    return rates


def levels_of(rates: Mapping[str, float]) -> Levels:
    """Return fifths of the problems by their pass rates."""
    return dict(zip(rates, difficulty_levels(list(rates.values()), NUM_LEVELS), strict=True))


def samples_of(setting: Setting) -> Samples | None:
    """Return the largest set of independent samples that a point of this setting has drawn, or None."""
    found = [
        (_num_samples(point), series, point)
        for series in setting.series
        for point in series.points
        if all(is_whole(run) for run in point.runs)
    ]
    if not found:
        return None
    num, series, point = max(found, key=lambda entry: entry[0])
    if num < 2:
        return None  # one sample per problem gives right or wrong, and no difficulty
    seeds = f", {len(point.runs)} seeds" if len(point.runs) > 1 else ""
    own = frozenset(run.seed for run in point.runs)
    return Samples(f"{series.name} N={point.budget}{seeds}", _rates(point.runs), own)


@cache
def is_sampled(target: str) -> bool:
    """Return whether a strategy draws numbered samples, the same ones in each run with a seed.

    Only classes of shipped groups are imported.
    """
    return target in shipped_strategies() and independent_knob(target) is not None


def is_whole(run: SavedRun) -> bool:
    """Return whether the candidates of a run are N independent samples of each problem."""
    return _is_sampled(run) and cut_by(run.config) is None


def _is_sampled(run: SavedRun) -> bool:
    return is_sampled(str(run.config["strategy"].get(TARGET)))


def _num_samples(point: ReportPoint) -> float:
    """Return the samples per problem, over all seeds; 0 for a run without any."""
    return sum(fmean(run.columns.num_candidates) if len(run.columns) else 0.0 for run in point.runs)


def _rates(runs: Sequence[SavedRun]) -> dict[str, float]:
    right: dict[str, int] = {}
    counts: dict[str, int] = {}
    for run in runs:
        c = run.columns
        for problem, num_right, num in zip(c.problem_id, c.num_right, c.num_candidates, strict=True):
            right[problem] = right.get(problem, 0) + num_right
            counts[problem] = counts.get(problem, 0) + num
    return {problem: right[problem] / num for problem, num in counts.items() if num}


def by_difficulty(setting: Setting, samples: Samples) -> ByDifficulty | None:
    """Return the table; None if the samples are of other problems, or all problems are in one level."""
    problems = {i for run in setting.runs for i in run.columns.problem_id}
    rates = {problem: rate for problem, rate in samples.rates.items() if problem in problems}
    levels = levels_of(rates) if rates else {}
    if len(set(levels.values())) < 2:
        return None
    shown = tuple(_level(number, levels, rates) for number in sorted(set(levels.values())))
    rows = [
        LevelRow(
            series.name,
            point.label,
            tuple(_accuracy(point, n.number, levels) for n in shown),
            (),
            point.allowed,
            any(run.seed in samples.seeds and _is_sampled(run) for run in point.runs),
        )
        for series in setting.series
        for point in series.points
    ]
    return ByDifficulty(samples.source, shown, tuple(_marked(row, rows) for row in rows))


def _level(number: int, levels: Levels, rates: Mapping[str, float]) -> Level:
    own = [rates[problem] for problem, level in levels.items() if level == number]
    return Level(number, len(own), min(own), max(own))


def _accuracy(point: ReportPoint, number: int, levels: Levels) -> float | None:
    means = [mean for problem, mean in mean_by_problem(point.runs).items() if levels.get(problem) == number]
    return fmean(means) if means else None


def _marked(row: LevelRow, rows: Sequence[LevelRow]) -> LevelRow:
    """Mark where a row is best: it has rivals of the same N and limits, and none is better."""
    rivals = [other for other in rows if other.allowed == row.allowed]
    best = tuple(
        value is not None and len(rivals) > 1 and all((r.accuracies[i] or 0.0) <= value for r in rivals)
        for i, value in enumerate(row.accuracies)
    )
    return replace(row, is_best=best)
