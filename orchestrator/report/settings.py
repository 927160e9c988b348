"""Which runs may be compared: settings hold series, series hold points, points hold one run a seed."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.dotted import dotted
from orchestrator.report.runs import SavedRun

# Keys that only change the speed of an engine or a verifier, or what it costs.
SPEED_KEYS = {"batch_invariant", "cache_bytes", "device", "max_batch_size", "price"}
# Contents of fitted files, which their digests stand for.
_FITTED = ("strategy.plan.", "verifier.calibration.")
# Knobs by which one method spends more or less of its budget: their values are points of one curve.
DIALS = ("stop.at", "prune", "accept")
# Knobs that no budget sets: runs that differ in them are no points of one curve.
RULES = ("stop.rule", "prune", "temperatures", "allocator")
_OF_A_METHOD = ("strategy", "verifier", "policies")
UNIFORM = {"_target_": "orchestrator.Uniform"}
Flat = dict[str, Any]
Dials = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class ReportPoint:
    """One budget under one set of limits and dials, with one run per seed."""

    budget: int
    limits: tuple[tuple[str, float], ...]
    runs: tuple[SavedRun, ...]
    dials: Dials = ()

    @property
    def label(self) -> str:
        """The point in text: ``N=8, generated_tokens≤500``, ``N=16, stop.at=0.9``."""
        return "".join([self.allowed, *(f", {name}={value}" for name, value in self.dials)])

    @property
    def allowed(self) -> str:
        """What the point may spend in text: its N and its limits."""
        return "".join([f"N={self.budget}", *(f", {name}≤{value:g}" for name, value in self.limits)])


@dataclass(frozen=True)
class Series:
    """One method: a strategy, with those of its knobs in which the runs of this folder differ."""

    name: str
    points: tuple[ReportPoint, ...]


@dataclass(frozen=True)
class Setting:
    """Runs of the same problems by the same policy: their accuracies can be compared."""

    name: str
    series: tuple[Series, ...]

    @property
    def runs(self) -> list[SavedRun]:
        return [run for series in self.series for point in series.points for run in point.runs]


def flat(node: Mapping[str, Any]) -> Flat:
    """Return ``{"a": {"b": 1}}`` as ``{"a.b": 1}``, without keys of speed; a list as JSON text."""
    return {
        key: json.dumps(value) if isinstance(value, list) else value
        for key, value in dotted(node).items()
        if SPEED_KEYS.isdisjoint(key.split("."))
    }


def arrange(runs: Iterable[SavedRun]) -> list[Setting]:
    """Group runs in settings, series and points, in order of name and budget."""
    groups: dict[str, list[SavedRun]] = defaultdict(list)
    for run in runs:
        groups[json.dumps(_place(run), sort_keys=True)].append(run)
    members = list(groups.values())
    names = _names([_setting_name(group[0]) for group in members], [_place(g[0]) for g in members])
    settings = [Setting(name, tuple(_series(group))) for name, group in zip(names, members, strict=True)]
    return sorted(settings, key=lambda s: s.name)


def _place(run: SavedRun) -> Flat:
    """Return what fixes problems and policy."""
    names = {group: run.summary[group] for group in ("task", "engine")}
    return {**flat({"task": run.config["task"], "engine": run.config["engine"]}), **names}


def _setting_name(run: SavedRun) -> str:
    return f"{run.summary['task']}, engine {run.summary['engine']}"


def _names(names: Sequence[str], details: Sequence[Flat]) -> list[str]:
    """Return the names; those that occur twice get the keys in which their owners differ."""
    unique = []
    for name, detail in zip(names, details, strict=True):
        others = [d for n, d in zip(names, details, strict=True) if n == name]
        differing = [k for k in detail if any(d.get(k) != detail[k] for d in others)]
        unique.append(_with(name, differing, detail))
    return unique


def _with(name: str, keys: Sequence[str], values: Flat) -> str:
    if not keys:
        return name
    return f"{name} ({', '.join(f'{k}={_text(values.get(k))}' for k in sorted(keys))})"


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _series(runs: Sequence[SavedRun]) -> list[Series]:
    by_strategy: dict[str, list[SavedRun]] = defaultdict(list)
    for run in runs:
        by_strategy[run.strategy].append(run)
    named: dict[str, list[SavedRun]] = defaultdict(list)
    for strategy, members in by_strategy.items():
        knobs = [_knobs(run) for run in members]
        varied = _varied(members, knobs)
        for run, values in zip(members, knobs, strict=True):
            named[_with(strategy, varied, values)].append(run)
    return [Series(name, tuple(_points(named[name]))) for name in sorted(named)]


def _knobs(run: SavedRun) -> Flat:
    groups = {
        key: value
        for key, value in flat({group: run.config.get(group, {}) for group in _OF_A_METHOD}).items()
        if not key.startswith(_FITTED) or key.endswith(".digest")
    }
    short = {key.removeprefix("strategy."): value for key, value in groups.items()}
    prunes = {"prune": "yes"} if run.config["strategy"].get("prune") else {}
    own = {key: value for key, value in short.items() if not key.startswith("prune.")}
    return {**own, **prunes, **_allocator(run), "verifier": run.summary["verifier"]}


def _allocator(run: SavedRun) -> Flat:
    """Return the allocator by its name, with its knobs; ``uniform`` for a run of a release that had none."""
    node = run.config.get("allocator") or UNIFORM
    name = str(node["_target_"]).rpartition(".")[2].lower()
    knobs = flat({"allocator": {k: v for k, v in node.items() if k != "_target_"}})
    return {"allocator": name, **knobs}


def dials_of(run: SavedRun) -> Dials:
    """Return the dials that a run sets: levels to stop at and to accept drafts at, points to prune at."""
    strategy = run.config["strategy"]
    stop, prune = strategy.get("stop") or {}, strategy.get("prune") or {}
    found = {
        "stop.at": stop.get("at"),
        "prune": ", ".join(f"{step}: {num}" for step, num in prune.items()),
        "accept": strategy.get("accept"),
    }
    return tuple((name, found[name]) for name in DIALS if found[name] not in (None, ""))


def spends_all(run: SavedRun) -> bool:
    """Return whether every problem of a run has its whole budget: nothing stops, prunes or grants."""
    strategy = run.config["strategy"]
    stops = (strategy.get("stop") or {}).get("rule", "none") not in ("none", "decided")
    return not stops and not strategy.get("prune") and _allocator(run)["allocator"] == "uniform"


def _varied(runs: Sequence[SavedRun], knobs: Sequence[Flat]) -> list[str]:
    """Return the knobs that differ between runs of one budget: the others follow from the budget.

    Rules are compared among all runs, the knobs of an allocator among those that have it, and dials make no
    series.
    """
    by_budget: dict[int, list[Flat]] = defaultdict(list)
    for run, values in zip(runs, knobs, strict=True):
        by_budget[run.budget].append(values)
    keys = {key for values in knobs for key in values}
    levels = {"stop.at", "accept"}
    varied = {k for k in keys - levels if any(_differs(k, same) for same in by_budget.values())}
    return sorted(varied | {k for k in RULES if len({v[k] for v in knobs if k in v}) > 1})


def _differs(key: str, knobs: Sequence[Flat]) -> bool:
    is_of_allocator = key.startswith("allocator.")
    return len({v.get(key) for v in knobs if key in v or not is_of_allocator}) > 1


def _points(runs: Sequence[SavedRun]) -> list[ReportPoint]:
    """Return the points by rising budget, limits and dials; of two runs with one seed the longer counts."""
    found: dict[tuple[int, tuple[tuple[str, float], ...], Dials], dict[int, SavedRun]] = defaultdict(dict)
    for run in runs:
        limits = tuple(sorted((k, v) for k, v in run.config["limits"].items() if v is not None))
        same = found[run.budget, limits, dials_of(run)]
        if run.seed not in same or len(run.columns) > len(same[run.seed].columns):
            same[run.seed] = run
    return [
        ReportPoint(budget, limits, tuple(same[seed] for seed in sorted(same)), dials)
        for (budget, limits, dials), same in sorted(found.items(), key=lambda entry: entry[0])
    ]
