"""Figures for Prometheus: what Ray really exports, and a dashboard that asks for nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.pool import metrics as metrics_module
from actors.pool.metrics import METRICS, RayMetrics, exported_name, relative_ess
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from orchestrator.outcome import ProblemResult
from orchestrator.protocols import Completion
from orchestrator.search.controller import Controller
from orchestrator.storage.result_lines import result_line
from orchestrator.storage.totals import Totals
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling, Usage
from strategies.particle_filter import ParticleFilter
from tests.actors.fake_members import FakeMember, fake_fleet

DOCS = Path(__file__).parents[3] / "docs"
DASHBOARD = DOCS / "observability" / "grafana.json"
TAGS = {"run": "r", "strategy": "particle_filter"}
LINE = {"correct": True, "error": None, "seconds": 2.0, "history": []}
Values = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""By name and by the values of our own tags."""


@dataclass
class Recording:
    """What was told of one metric, by the values of its tags."""

    values: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0  # Ray refuses anything else
        self.values[tags.get("replica", tags.get("kind", ""))] += value

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[tags.get("replica", tags.get("kind", ""))] = value

    def observe(self, value: float, tags: dict[str, str]) -> None:
        self.values[""] += 1


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recording]:
    kept = {name: Recording() for name in METRICS}
    monkeypatch.setattr(metrics_module, "_make", lambda name, metric: kept[name])
    return kept


async def test_a_run_counts_from_its_own_beginning(recordings: dict[str, Recording]) -> None:
    """The points of a sweep share their replicas; and gauges fall back to 0 when a run is over."""
    usage = Usage(generated_tokens=3, prompt_tokens=10, cached_tokens=4)

    async def answer(member: FakeMember, *_: object) -> list[Any]:
        return [Completion((), usage)]

    fleet = fake_fleet(answer, num=1)
    await fleet.start()

    async def ask() -> None:
        await fleet.ask("generate", "p", [_Request()])

    def told(name: str) -> dict[str, float]:
        return dict(recordings[f"murmuration_{name}"].values)

    await ask()
    running = RayMetrics({"engine": fleet}, 5, TAGS, interval_s=3600)
    running.start(Path(), {}, Totals())
    assert told("generated_tokens") == {} and told("problems_left") == {"": 5}
    assert told("replicas") == {"engine": 1}
    await ask()
    await ask()
    fleet.members["engine-0"].num_deaths += 1
    for line in (LINE, LINE, {**LINE, "correct": False, "error": {"type": "x", "message": ""}}):
        running.problem(line)
    running._report()
    assert told("problems_left") == {"": 2}
    running.finish({})
    assert told("generated_tokens") == {"engine-0": 6}
    assert told("prefix_cache_hit_tokens") == {"engine-0": 8}
    assert told("prefix_cache_miss_tokens") == {"engine-0": 12}
    assert told("replica_deaths") == {"engine-0": 1}
    assert told("calls") == told("home_hits") == {"engine": 2}
    assert (told("problems_finished"), told("problems_failed"), told("problems_correct")) == (
        {"": 2}, {"": 1}, {"": 2}
    )  # fmt: skip
    assert told("problem_seconds") == {"": 3} and told("relative_ess") == {}
    assert told("replicas") == {"engine": 0} and told("problems_left") == {"": 0}
    await fleet.close()


@dataclass(frozen=True)
class _Request:
    home: str = "p"


@pytest.mark.parametrize(
    ("history", "ess"),
    [
        ([], None),
        ([{"node": 0, "parent": None}], None),
        ([{"ess": 2.0, "ancestors": [0, 0, 1, 1]}, {"ess": 4.0, "ancestors": [0, 1, 2, 3]}], 0.75),
        ([{"ess": None, "ancestors": [0]}], None),
    ],
)
def test_the_ess_is_that_of_a_population(history: list[dict[str, Any]], ess: float | None) -> None:
    assert relative_ess(history) == ess


def queries() -> set[str]:
    """Everything that the dashboard asks Prometheus for."""
    text = DASHBOARD.read_text(encoding="utf-8")
    panels = json.loads(text)["panels"]
    asked = {target["expr"] for panel in panels for target in panel.get("targets", [])}
    assert asked
    return asked


def test_the_dashboard_asks_for_what_is_exported_and_the_page_names_it_all() -> None:
    exported = {name: set(METRICS[name].tags) | {"run", "strategy"} for name in METRICS}
    suffix = "(?:_total|_bucket|_sum|_count)?"
    asked = set()
    for query in queries():
        for name, selector in re.findall(r"ray_(\w+?)" + suffix + r"\{(.*?)\}", query):
            assert name in exported, query
            assert {tag.split("=")[0].rstrip("~!") for tag in selector.split(",")} <= exported[name]
            asked.add(name)
        for name in re.findall(r"ray_\w+", query):
            assert any(name.startswith(exported_name(known)) for known in exported), name
    assert asked == exported.keys()
    page = (DOCS / "observability.md").read_text(encoding="utf-8")
    assert {name for name in exported if f"`{exported_name(name)}`" not in page} == set()


def scraped(port: int) -> Values:
    """Our own series as a Prometheus server would read them from the node."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    found: Values = defaultdict(dict)
    for name, labels, value in re.findall(r"^ray_(murmuration_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        tags = dict(re.findall(r'(\w+)="(.*?)"', labels))
        if tags["run"] == TAGS["run"]:
            ours = tuple(sorted((k, v) for k, v in tags.items() if k in ("kind", "replica", "le")))
            found[f"ray_{name}"][ours] = float(value)
    return found


def is_final(values: Values, num_problems: int) -> bool:
    """Whether the node's agent has passed on what a run reported last; before that it has earlier figures."""
    finished = values.get("ray_murmuration_problems_finished_total", {})
    alive = values.get("ray_murmuration_replicas", {(): 1.0})
    return sum(finished.values()) == num_problems and not any(alive.values())


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
async def test_ray_exports_the_figures_of_a_run() -> None:
    """Through real replicas, the node's agent and its endpoint, as Prometheus reads it."""
    task = FakeTask(num_problems=12)
    totals = Totals()
    config = ClusterConfig(engine_replicas=2)
    async with await Pool.start(config, FakeEngine, FakeVerifier) as pool:
        strategy = ParticleFilter(num_particles=4, max_steps=8, sampling=Sampling(max_tokens=16))
        running = RayMetrics(pool.fleets, 12, TAGS, 0.1)
        running.start(Path(), {}, totals)

        def on_result(result: ProblemResult) -> None:
            line = result_line(result)
            totals.add(line)
            running.problem(line)

        controller = Controller(strategy, pool.engine, pool.verifier, task, concurrency=4)
        await controller.run(task.problems(0, None), on_result)
        await asyncio.to_thread(running.finish, {})
        port = ray.nodes()[0]["MetricsExportPort"]  # type: ignore[no-untyped-call]
        async with asyncio.timeout(60):
            while not is_final(values := await asyncio.to_thread(scraped, port), 12):
                await asyncio.sleep(0.5)
    assert pool.generated_tokens == totals.usage.generated_tokens > 0
    sums = {name: sum(series.values()) for name, series in values.items()}
    assert sums["ray_murmuration_problems_finished_total"] == 12
    assert sums["ray_murmuration_problems_correct_total"] == totals.num_correct
    assert sums["ray_murmuration_generated_tokens_total"] == totals.usage.generated_tokens
    by_replica = values["ray_murmuration_generated_tokens_total"]
    assert set(by_replica) == {(("kind", "engine"), ("replica", f"engine-{i}")) for i in range(2)}
    read = totals.usage.prompt_tokens + totals.usage.reward_tokens + totals.usage.cached_reward_tokens
    hits = sums.get("ray_murmuration_prefix_cache_hit_tokens_total", 0)
    assert hits + sums["ray_murmuration_prefix_cache_miss_tokens_total"] == read
    assert hits == totals.usage.cached_tokens + totals.usage.cached_reward_tokens
    assert values["ray_murmuration_replicas"] == {(("kind", k),): 0 for k in ("engine", "verifier")}
    assert sums["ray_murmuration_relative_ess_count"] == 12
    stats = pool.stats()
    assert sums["ray_murmuration_calls_total"] == sum(s.calls for s in stats.values())
    known = {exported_name(name) for name in METRICS}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in values} <= known
