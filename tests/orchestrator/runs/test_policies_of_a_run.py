"""A run with several policies: its files, its resume, and the library's calls with the same parts."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import solve_many, solve_sync
from orchestrator.backend import DirectBackend
from orchestrator.config.plan import Plan
from orchestrator.config.policies import Policies
from orchestrator.errors import ConfigError
from orchestrator.runs.models import Models
from orchestrator.runs.point import run_point
from orchestrator.search.account import Limits
from orchestrator.search.prices import Price
from orchestrator.search.session import Session
from orchestrator.storage.results import read_results
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling, Solution, Trajectory
from tests.fake_plans import PLAIN, FakeEngineConfig, fake_plan

DRAFT = {"_target_": "tests.fake_plans.FakeEngineConfig"}
NODES: dict[str, Any] = PLAIN | {"engine": {}, "verifier": {}, "cluster": {}}
PRICES = {"engine": Price(generated=21e6), "draft": Price(generated=1e6)}


@dataclass(frozen=True)
class Alternating:
    """Steps of several policies in turn."""

    policies: tuple[str, ...] = ("draft", "engine")
    num_paths: int = 2
    readouts: tuple[str, ...] = ()

    async def solve(self, session: Session) -> Solution:
        rows = [Trajectory()] * self.num_paths
        for i in range(12):
            policy = self.policies[i % len(self.policies)]
            rows = await session.generate(rows, Sampling(max_tokens=8), policy=policy)
        return Solution(0, tuple(rows), (0.0,) * len(rows), usage=session.usage)


def plan_of(run_dir: Path, strategy: Alternating = Alternating(), **parts: Any) -> Plan:
    plain = NODES | {"policies": {"draft": DRAFT, "judge": "engine"}}
    others = Policies({"draft": FakeEngineConfig()}, {"judge": "engine"}, PRICES)
    task = FakeTask(num_problems=3)
    return fake_plan(run_dir, task, strategy, plain=plain, others=others, **parts)  # type: ignore[arg-type]


def run(plan: Plan) -> dict[str, Any]:
    models = Models()
    try:
        run_point(plan, models, {})
    finally:
        models.close()
    summary: dict[str, Any] = json.loads((plan.run_dir / "summary.json").read_text())
    return summary


def test_the_files_say_what_each_policy_took_and_cost(tmp_path: Path) -> None:
    summary = run(plan_of(tmp_path))
    assert summary["policies"] == {"draft": DRAFT["_target_"], "judge": "engine"}
    assert summary["replicas"] == {"engine": 1, "verifier": 1, "draft": 1}
    spent = {name: usage["generated_tokens"] for name, usage in summary["usage_by_policy"].items()}
    assert sum(spent.values()) == summary["usage"]["generated_tokens"] and min(spent.values()) > 0
    assert summary["cost"] == pytest.approx(21 * spent["engine"] + spent["draft"])
    lines = read_results(tmp_path)
    assert sum(line["cost"] for line in lines) == pytest.approx(summary["cost"])
    assert all(set(line["usage_by_policy"]) == {"engine", "draft"} for line in lines)


def test_a_run_of_one_policy_says_nothing_of_policies(tmp_path: Path) -> None:
    task, strategy = FakeTask(num_problems=1), Alternating(("engine",))
    summary = run(fake_plan(tmp_path, task, strategy, plain=NODES))  # type: ignore[arg-type]
    said = summary.keys() | read_results(tmp_path)[0].keys()
    assert not said & {"policies", "usage_by_policy", "cost"}


def test_another_name_is_the_same_run(tmp_path: Path) -> None:
    """The seeds of a call depend on its number, not on the name that it gives."""
    run(plan_of(tmp_path / "a", Alternating(("engine", "engine"))))
    run(plan_of(tmp_path / "b", Alternating(("judge", "engine"))))
    texts = [
        [[c["text"] for c in line["candidates"]] for line in read_results(tmp_path / name)] for name in "ab"
    ]
    assert texts[0] == texts[1]


def test_a_limit_of_cost_ends_a_problem_with_what_it_has(tmp_path: Path) -> None:
    summary = run(plan_of(tmp_path, limits=Limits(cost=100.0)))
    lines = read_results(tmp_path)
    assert max(line["cost"] for line in lines) <= 100
    assert {line["stopped_by"] for line in lines} == {"cost"} and summary["num_errors"] == 0


def test_what_replicas_a_point_needs_does_not_depend_on_prices(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    plain = dict(plan.plain)
    priced = {**plain, "policies": {"draft": DRAFT | {"price": {"generated": 1}}}, "engine": {"price": {}}}
    assert replace(plan, plain=plain).model_key == replace(plan, plain=priced).model_key
    other = {**plain, "policies": {"draft": DRAFT | {"model": "m"}}}
    assert replace(plan, plain=plain).model_key != replace(plan, plain=other).model_key
    assert list(plan.policies) == ["engine", "draft"]


async def test_direct_engines_are_closed_once_each() -> None:
    closed = []

    class Closing(FakeEngine):
        async def close(self) -> None:
            closed.append(self)

    engine, draft = Closing(), Closing()
    backend = DirectBackend(engine, FakeVerifier(), {"draft": draft, "judge": engine})
    assert backend.replicas == {"engine": 1, "verifier": 1, "draft": 1, "judge": 1}
    await backend.close()
    assert closed == [engine, draft]


def test_the_library_takes_engines_by_name() -> None:
    engines = {"engine": FakeEngine(), "policies": {"draft": FakeEngine()}}
    result = solve_sync("abca", strategy=Alternating(), task=FakeTask(), prices=PRICES, **engines)  # type: ignore[arg-type]
    spent = result.by_policy
    assert result.cost == pytest.approx(
        21 * spent["engine"].generated_tokens + spent["draft"].generated_tokens
    )


async def test_a_directory_of_the_library_is_of_its_policies(tmp_path: Path) -> None:
    async def solved(**policies: FakeEngine) -> list[str]:
        parts: dict[str, Any] = {"engine": FakeEngine(), "task": FakeTask(), "policies": policies}
        found = solve_many(["abca"], strategy=Alternating(("engine",)), run_dir=tmp_path, **parts)
        return [result.text async for result in found]

    first = await solved(draft=FakeEngine())
    assert await solved(draft=FakeEngine()) == first
    with pytest.raises(ConfigError, match=r"^policies\.(draft|other)\._target_="):
        await solved(other=FakeEngine())


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({}, r"^strategy\.policies=draft: this run has no such policy, only engine; add it with"),
        ({"policies": {"engine": FakeEngine()}}, r"^policies=.*must be engines by names other than 'engine'"),
        ({"policies": {"draft": "embedded"}}, r"^policies\.draft=embedded: must be an engine"),
        ({"prices": {"draft": 3}}, r"^prices=.*: must be Price"),
        ({"prices": {"drft": Price()}}, r"^prices=drft: must be of a policy: engine"),
        ({"limits": Limits(cost=1.0)}, r"^limits\.cost=1\.0: needs prices="),
    ],
)
def test_parts_that_do_not_fit_are_one_line(parts: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        solve_sync("abca", strategy=Alternating(), engine=FakeEngine(), task=FakeTask(), **parts)
