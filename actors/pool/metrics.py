"""Figures of a run for Prometheus and Grafana, through Ray's own metrics (docs/observability.md).

Ray exports them at each node's metrics port with ``ray_`` before the name, and ``_total`` after a counter's.
Requests do not report anything: a thread reads the pool's counters periodically and reports the changes to
Ray.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.util import metrics

from actors.pool.fleet import Fleet
from orchestrator.storage.totals import Totals

RUN_TAGS = ("run", "strategy")
"""The run's name (with a sweep's point below it, ``sweep/point``), and that of its strategy."""

_FLEET, _REPLICA = ("kind",), ("kind", "replica")
_ESS_BOUNDARIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_SECONDS_BOUNDARIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """A ``counter``, which only grows, a ``gauge`` or a ``histogram``, with its tags beside RUN_TAGS."""

    kind: str
    description: str
    tags: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()


METRICS = {
    "murmuration_queued_rows": Metric("gauge", "rows that wait in the controller for a replica", _FLEET),
    "murmuration_replicas": Metric("gauge", "replicas that are alive", _FLEET),
    "murmuration_in_flight_rows": Metric("gauge", "rows in flight on a replica", _REPLICA),
    "murmuration_problems_left": Metric("gauge", "problems of the run that have not ended"),
    "murmuration_problems_finished": Metric("counter", "problems that ended with a result"),
    "murmuration_problems_failed": Metric("counter", "problems that ended in an error"),
    "murmuration_problems_correct": Metric("counter", "problems whose answer is right"),
    "murmuration_generated_tokens": Metric("counter", "tokens that a replica generated", _REPLICA),
    "murmuration_prefix_cache_hit_tokens": Metric(
        "counter", "tokens read that were found in a replica's prefix cache", _REPLICA
    ),
    "murmuration_prefix_cache_miss_tokens": Metric("counter", "tokens read that were computed", _REPLICA),
    "murmuration_replica_deaths": Metric("counter", "deaths of a replica", _REPLICA),
    "murmuration_calls": Metric("counter", "calls that were sent to a replica", _FLEET),
    "murmuration_home_hits": Metric("counter", "calls that went to their problem's home replica", _FLEET),
    "murmuration_retried_rows": Metric("counter", "rows that were retried", _FLEET),
    "murmuration_failed_rows": Metric("counter", "rows that were given up", _FLEET),
    "murmuration_relative_ess": Metric(
        "histogram", "effective sample size over N, mean of a problem's steps", boundaries=_ESS_BOUNDARIES
    ),
    "murmuration_problem_seconds": Metric(
        "histogram", "wall time of a problem", boundaries=_SECONDS_BOUNDARIES
    ),
}
"""Everything that is exported, by its name."""

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name and its tags' values."""


class RayMetrics:
    """A tracker that reports one run to Ray's metrics, every ``interval_s`` seconds and once at its end.

    Counters begin at 0 with the run, also where it shares its replicas with runs before it.
    """

    def __init__(
        self, fleets: Mapping[str, Fleet], num_problems: int, tags: Mapping[str, str], interval_s: float
    ) -> None:
        self._fleets = fleets
        self._num_problems = num_problems
        self._tags = dict(tags)
        self._interval_s = interval_s
        self._metrics = {name: _make(name, metric) for name, metric in METRICS.items()}
        self._seen: Counter[Series] = Counter()
        self._ended: deque[Mapping[str, Any]] = deque()
        self._num_left = num_problems
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._report_regularly, daemon=True)

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._num_left = self._num_problems - totals.num_problems
        self._seen.update(dict(self._counters()))
        self._report()
        self._thread.start()

    def problem(self, line: Mapping[str, Any]) -> None:
        self._ended.append({key: line[key] for key in ("correct", "error", "seconds", "history")})

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._over.set()
        self._thread.join()
        self._report()
        for name, tags in self._gauges():
            self._metrics[name].set(0, {**self._tags, **dict(tags)})

    def _report_regularly(self) -> None:
        while not self._over.wait(self._interval_s):
            self._report()

    def _report(self) -> None:
        while self._ended:
            self._report_problem(self._ended.popleft())
        for series, value in self._counters():
            self._grow(*series, value - self._seen[series])
            self._seen[series] = value
        for (name, tags), level in self._gauges().items():
            self._metrics[name].set(level, {**self._tags, **dict(tags)})

    def _report_problem(self, line: Mapping[str, Any]) -> None:
        self._num_left -= 1
        name = "murmuration_problems_finished" if line["error"] is None else "murmuration_problems_failed"
        self._grow(name, (), 1)
        self._grow("murmuration_problems_correct", (), int(line["correct"]))
        self._metrics["murmuration_problem_seconds"].observe(line["seconds"], self._tags)
        if (ess := relative_ess(line["history"])) is not None:
            self._metrics["murmuration_relative_ess"].observe(ess, self._tags)

    def _grow(self, name: str, tags: tuple[tuple[str, str], ...], by: float) -> None:
        if by > 0:
            self._metrics[name].inc(by, {**self._tags, **dict(tags)})

    def _counters(self) -> Iterator[tuple[Series, int]]:
        """Yield every counter of the pool, which runs before this one may have used."""
        for kind, fleet in self._fleets.items():
            stats = fleet.stats()
            for name in ("calls", "home_hits", "retried_rows", "failed_rows"):
                yield (f"murmuration_{name}", (("kind", kind),)), getattr(stats, name)
            for replica, member in fleet.members.items():
                tags, tokens = (("kind", kind), ("replica", replica)), member.tokens
                yield ("murmuration_generated_tokens", tags), tokens.generated
                yield ("murmuration_prefix_cache_hit_tokens", tags), tokens.cached
                yield ("murmuration_prefix_cache_miss_tokens", tags), tokens.computed
                yield ("murmuration_replica_deaths", tags), member.num_deaths

    def _gauges(self) -> dict[Series, float]:
        values: dict[Series, float] = {("murmuration_problems_left", ()): self._num_left}
        for kind, fleet in self._fleets.items():
            lives = {name: member.life for name, member in fleet.members.items()}
            loads = {name: life.num_rows if life else None for name, life in lives.items()}
            values["murmuration_queued_rows", (("kind", kind),)] = fleet.num_queued
            values["murmuration_replicas", (("kind", kind),)] = sum(x is not None for x in loads.values())
            for replica, load in loads.items():
                values["murmuration_in_flight_rows", (("kind", kind), ("replica", replica))] = load or 0
        return values


def relative_ess(history: list[Mapping[str, Any]]) -> float | None:
    """Return ESS / N, in (0, 1], the mean over the steps; None where the search has no population."""
    steps = [s for s in history if s.get("ess") is not None and s.get("ancestors")]
    return sum(s["ess"] / len(s["ancestors"]) for s in steps) / len(steps) if steps else None


def _make(name: str, metric: Metric) -> Any:
    tags = (*RUN_TAGS, *metric.tags)
    if metric.kind == "histogram":
        return metrics.Histogram(name, metric.description, boundaries=list(metric.boundaries), tag_keys=tags)
    cls = metrics.Counter if metric.kind == "counter" else metrics.Gauge
    return cls(name, metric.description, tag_keys=tags)


def exported_name(name: str) -> str:
    """Return the name of a metric in Prometheus; ``_bucket``, ``_sum`` or ``_count`` may follow."""
    return f"ray_{name}_total" if METRICS[name].kind == "counter" else f"ray_{name}"
